using '../tenants.bicep'

// A fleet, as an example: ids and databases are those that GET platform/tenants shows.
param environmentName = readEnvironmentVariable('AZURE_ENV_NAME', 'prod')
param location = readEnvironmentVariable('AZURE_LOCATION', 'westeurope')
param stampGroup = readEnvironmentVariable('FLOWGRID_STAMP_GROUP', 'flowgrid-prod-westeurope')
param accountName = readEnvironmentVariable('FLOWGRID_COSMOS_ACCOUNT', 'flowgrid-prod-account')
param tenants = [
  {
    id: '0190c2a8-7e10-7abc-8def-000000000001'
    tier: 'enterprise'
    database: 'tenant-0190c2a8-7e10-7abc-8def-000000000001-00000001'
  }
  {
    id: '0190c2a8-7e10-7abc-8def-000000000002'
    tier: 'professional'
    database: 'tenant-0190c2a8-7e10-7abc-8def-000000000002-00000001'
  }
  {
    id: '0190c2a8-7e10-7abc-8def-000000000003'
    tier: 'enterprise'
    database: 'tenant-0190c2a8-7e10-7abc-8def-000000000003-00000001'
    ownAccount: true
  }
]
