using '../main.bicep'

// For a few people: pay per use, nothing redundant, stores reached by identity over their public endpoints.
param environmentName = readEnvironmentVariable('AZURE_ENV_NAME', 'dev')
param location = readEnvironmentVariable('AZURE_LOCATION', 'westeurope')
param issuers = json(readEnvironmentVariable('FLOWGRID_ISSUERS'))
param memoryMb = 512
param perInstanceConcurrency = 4
param telemetryPercent = 5 // all of the load that the README tells of would be three gigabytes a day
param logQuotaGb = 1
param recoverDays = 7
param alertEmails = json(readEnvironmentVariable('FLOWGRID_ALERT_EMAILS'))
param monthlyBudget = 100
param budgetStartDate = readEnvironmentVariable('FLOWGRID_BUDGET_START', '2026-12-01')
param repository = readEnvironmentVariable('FLOWGRID_REPOSITORY', '')
