using '../main.bicep'

// As prod, behind API Management (docs/gateway.md): the app takes its calls only.
param environmentName = readEnvironmentVariable('AZURE_ENV_NAME', 'gateway')
param location = readEnvironmentVariable('AZURE_LOCATION', 'westeurope')
param issuers = json(readEnvironmentVariable('FLOWGRID_ISSUERS'))
param shards = 4
param redisSku = 'Balanced_B0'
param zoneRedundant = true
param alwaysReady = [
  {
    name: 'http'
    instanceCount: 2
  }
]
param gatewaySku = 'BasicV2'
param gatewayAudience = readEnvironmentVariable('FLOWGRID_GATEWAY_AUDIENCE')
param gatewayEmail = readEnvironmentVariable('FLOWGRID_GATEWAY_EMAIL')
param gatewayOrigins = json(readEnvironmentVariable('FLOWGRID_GATEWAY_ORIGINS', '[]'))
param telemetryPercent = 5
param logDays = 90
param recoverDays = 35
param alertEmails = json(readEnvironmentVariable('FLOWGRID_ALERT_EMAILS'))
param monthlyBudget = 700
param budgetStartDate = readEnvironmentVariable('FLOWGRID_BUDGET_START', '2026-12-01')
param repository = readEnvironmentVariable('FLOWGRID_REPOSITORY', '')
