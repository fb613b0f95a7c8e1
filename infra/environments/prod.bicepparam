using '../main.bicep'

// For tenants: copies in three zones, limits over all instances, two instances that are always there. It is paid by use:
// what is private, or has throughput of its own, begins at hundreds of dollars a month (private.bicepparam).
param environmentName = readEnvironmentVariable('AZURE_ENV_NAME', 'prod')
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
param telemetryPercent = 5
param logDays = 90
param recoverDays = 35
param alertEmails = json(readEnvironmentVariable('FLOWGRID_ALERT_EMAILS'))
param monthlyBudget = 500
param budgetStartDate = readEnvironmentVariable('FLOWGRID_BUDGET_START', '2026-12-01')
param repository = readEnvironmentVariable('FLOWGRID_REPOSITORY', '')
