// Who is told of what: alerts on what the app writes (infra/queries), the availability test, the workbook, the budget.
// Each alert has a section in docs/operations.md of its own name, to which its description leads.
@description('Name of this deployment, such as dev.')
param environmentName string

@description('What names begin with.')
param prefix string = 'flowgrid'

param location string
param tags object

@description('Name of the Log Analytics workspace that the telemetry goes to.')
param workspaceName string

@description('Name of the Application Insights component.')
param insightsName string

@description('Address of GET /api/health, over the way that clients take.')
param healthUrl string

@description('Who is told; everybody gets every alert.')
param alertEmails array

@description('Where the runbooks are.')
param runbookUrl string = 'docs/operations.md'

@description('US dollars a month for this resource group.')
@minValue(1)
param monthlyBudget int

@description('First day of a month, such as 2026-12-01.')
param budgetStartDate string

@description('Places that ask for health every five minutes; an alert needs two of them to fail.')
@minLength(3)
param availabilityLocations array = [
  'emea-nl-ams-azr'
  'emea-gb-db3-azr'
  'emea-fr-pra-edge'
  'us-va-ash-azr'
  'apac-sg-sin-azr'
]

var base = '${prefix}-${environmentName}'

// Severity 0 is critical, 1 an error, 2 a warning. A query gives rows where somebody should look.
var alerts = [
  {
    name: 'slo-fast'
    title: 'Promises are broken fast'
    severity: 1
    frequency: 'PT5M'
    window: 'PT1H'
    query: loadTextContent('../queries/slo_fast.kql')
  }
  {
    name: 'slo-slow'
    title: 'Promises are broken slowly'
    severity: 2
    frequency: 'PT30M'
    window: 'PT6H'
    query: loadTextContent('../queries/slo_slow.kql')
  }
  {
    name: 'dead-letters'
    title: 'Messages cannot be handled'
    severity: 2
    frequency: 'PT15M'
    window: 'PT15M'
    query: loadTextContent('../queries/dead_letters.kql')
  }
  {
    name: 'backups'
    title: 'Backups failed or did not come'
    severity: 1
    frequency: 'PT30M'
    window: 'PT30M'
    query: loadTextContent('../queries/backups.kql')
  }
  {
    name: 'health'
    title: 'Something is away without which calls fail'
    severity: 0
    frequency: 'PT5M'
    window: 'PT10M'
    query: loadTextContent('../queries/health.kql')
  }
  {
    name: 'degraded'
    title: 'A check of health says error'
    severity: 2
    frequency: 'PT15M'
    window: 'PT30M'
    query: loadTextContent('../queries/degraded.kql')
  }
  {
    name: 'cost'
    title: 'A tenant has cost more than $5 this month'
    severity: 2
    frequency: 'P1D'
    window: 'P1D'
    query: loadTextContent('../queries/cost.kql')
  }
  {
    name: 'audit'
    title: 'An audit trail is not as it was sealed'
    severity: 0
    frequency: 'PT5M'
    window: 'PT15M'
    query: loadTextContent('../queries/audit.kql')
  }
  {
    name: 'log-quota'
    title: 'No more logs are taken today'
    severity: 1
    frequency: 'PT15M'
    window: 'PT30M'
    query: loadTextContent('../queries/log_quota.kql')
  }
]

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' existing = {
  name: workspaceName
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

resource told 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: '${base}-alerts'
  location: 'global'
  tags: tags
  properties: {
    enabled: true
    groupShortName: take('fg-${environmentName}', 12)
    emailReceivers: [
      for (email, place) in alertEmails: {
        name: 'email-${place}'
        emailAddress: email
        useCommonAlertSchema: true
      }
    ]
  }
}

resource rules 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = [
  for alert in alerts: {
    name: '${base}-${alert.name}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: '${environmentName}: ${alert.title}'
      description: 'What to do: ${runbookUrl}#${alert.name}'
      enabled: true
      severity: alert.severity
      scopes: [workspace.id]
      evaluationFrequency: alert.frequency
      windowSize: alert.window
      autoMitigate: alert.frequency != 'P1D'
      criteria: {
        allOf: [
          {
            query: alert.query
            timeAggregation: 'Count'
            operator: 'GreaterThan'
            threshold: 0
            failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
          }
        ]
      }
      actions: {
        actionGroups: [told.id]
        customProperties: { runbook: '${runbookUrl}#${alert.name}', environment: environmentName }
      }
    }
  }
]

resource test 'Microsoft.Insights/webtests@2022-06-15' = {
  name: '${base}-health'
  location: location
  tags: union(tags, { 'hidden-link:${insights.id}': 'Resource' })
  kind: 'standard'
  properties: {
    Name: '${base}-health'
    SyntheticMonitorId: '${base}-health'
    Kind: 'standard'
    Enabled: true
    Frequency: 600
    Timeout: 30
    RetryEnabled: true
    Locations: [for place in availabilityLocations: { Id: place }]
    Request: { RequestUrl: healthUrl, HttpVerb: 'GET', FollowRedirects: false, ParseDependentRequests: false }
    ValidationRules: { ExpectedHttpStatusCode: 200, SSLCheck: true, SSLCertRemainingLifetimeCheck: 14 }
  }
}

resource unavailable 'Microsoft.Insights/metricAlerts@2026-01-01' = {
  name: '${base}-availability'
  location: 'global'
  tags: tags
  properties: {
    description: 'What to do: ${runbookUrl}#availability'
    enabled: true
    severity: 0
    scopes: [test.id, insights.id]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    autoMitigate: true
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.WebtestLocationAvailabilityCriteria'
      webTestId: test.id
      componentId: insights.id
      failedLocationCount: 2
    }
    actions: [
      {
        actionGroupId: told.id
        webHookProperties: { runbook: '${runbookUrl}#availability', environment: environmentName }
      }
    ]
  }
}

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, '${base}-workbook')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'Flowgrid ${environmentName}: tenants'
    category: 'workbook'
    sourceId: workspace.id
    version: 'Notebook/1.0'
    serializedData: string(loadJsonContent('../workbook.json'))
  }
}

module budget 'budget.bicep' = {
  params: {
    name: '${base}-monthly'
    amount: monthlyBudget
    startDate: budgetStartDate
    actionGroupId: told.id
  }
}

output actionGroupId string = told.id
output alertNames array = [for (alert, place) in alerts: rules[place].name]
