// A monthly budget of a resource group: told at 50, 80 and 100 % of what was spent, and when 100 % is forecast.
@description('Name of the budget.')
param name string

@description('US dollars a month, or whatever the subscription is billed in.')
@minValue(1)
param amount int

@description('First day of the month from which it counts, such as 2026-12-01; it cannot be changed afterwards.')
param startDate string

@description('Resource id of the action group that is told.')
param actionGroupId string

var shares = [50, 80, 100]
var spent = [
  for share in shares: {
    enabled: true
    operator: 'GreaterThanOrEqualTo'
    threshold: share
    thresholdType: 'Actual'
    contactEmails: []
    contactGroups: [actionGroupId]
  }
]
var forecast = {
  enabled: true
  operator: 'GreaterThan'
  threshold: 100
  thresholdType: 'Forecasted'
  contactEmails: []
  contactGroups: [actionGroupId]
}

resource budget 'Microsoft.Consumption/budgets@2026-06-01' = {
  name: name
  properties: {
    category: 'Cost'
    amount: amount
    timeGrain: 'Monthly'
    timePeriod: { startDate: startDate }
    notifications: { spent50: spent[0], spent80: spent[1], spent100: spent[2], forecast100: forecast }
  }
}

output budgetId string = budget.id
