using '../main.bicep'

// As prod, for whoever may not have stores with public endpoints, and needs throughput that nobody else takes.
param environmentName = readEnvironmentVariable('AZURE_ENV_NAME', 'private')
param location = readEnvironmentVariable('AZURE_LOCATION', 'westeurope')
param issuers = json(readEnvironmentVariable('FLOWGRID_ISSUERS'))
param shards = 4
param autoscaleRu = 4000
param cosmosBackup = 'Continuous30Days'
param redisSku = 'Balanced_B0'
param zoneRedundant = true
param privateNetworking = true
param alwaysReady = [
  {
    name: 'http'
    instanceCount: 2
  }
]
param telemetryPercent = 5
param logDays = 90
param recoverDays = 35
param alertEmails = json(readEnvironmentVariable('FLOWGRID_ALERT_EMAILS'))
param monthlyBudget = 2500
param budgetStartDate = readEnvironmentVariable('FLOWGRID_BUDGET_START', '2026-12-01')
param repository = readEnvironmentVariable('FLOWGRID_REPOSITORY', '')
