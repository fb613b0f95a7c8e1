// A dedicated tenant: its resource group, and its database in an account that is there, or an account of its own.
// The database is what onboarding makes (shared/database/cosmos/provisioner.py); a test keeps both equal.
targetScope = 'subscription'

@description('Id of the tenant, a UUID.')
@minLength(36)
@maxLength(36)
param tenantId string

@description('Plan of the tenant; a tag.')
@allowed(['standard', 'professional', 'enterprise'])
param tier string

@description('Name of the database, as the tenant\'s placement has it (GET platform/tenants).')
param databaseName string

@description('Region of the stamp that the tenant lives in.')
param location string

@description('Begins the name of the group.')
param prefix string = 'flowgrid'

@description('Name of the stamp\'s deployment: dev, prod, …')
param environmentName string

@description('Group of the stamp, whose account of Cosmos DB is taken; not used with an account of its own.')
param stampGroup string = ''

@description('Account of Cosmos DB of the stamp; not used with an account of its own.')
param accountName string = ''

@description('An account with a registry of its own, for a tenant that has a stamp of its own.')
param ownAccount bool = false

@description('Autoscale maximum of the database in RU/s; 0: a serverless account.')
param autoscaleRu int = 0

@description('How far back an account of its own can be restored.')
@allowed(['Continuous7Days', 'Continuous30Days'])
param backupTier string = 'Continuous30Days'

@description('Identity of the app that works with an account of its own; empty: its roles are given elsewhere.')
param appPrincipalId string = ''

@description('Disabled with private networking; of an account of its own.')
param publicNetworkAccess string = 'Disabled'

var declared = loadJsonContent('generated/cosmos.json')
var tags = {
  product: 'flowgrid'
  environment: environmentName
  stamp: location
  tenant: tenantId
  tier: tier
}
var own = toLower('${prefix}-${take(tenantId, 8)}-${uniqueString(subscription().id, tenantId, location)}')

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: '${prefix}-${environmentName}-tenant-${tenantId}'
  location: location
  tags: tags
}

module account 'modules/cosmos.bicep' = if (ownAccount) {
  scope: group
  params: {
    name: own
    location: location
    tags: tags
    shards: 1
    autoscaleRu: autoscaleRu
    backupTier: backupTier
    zoneRedundant: false
    publicNetworkAccess: publicNetworkAccess
  }
}

module ownDatabase 'modules/database.bicep' = if (ownAccount) {
  scope: group
  params: {
    accountName: own
    name: databaseName
    containers: declared.tenants.containers
    autoscaleRu: autoscaleRu
    tenantId: tenantId
  }
  dependsOn: [
    account
  ]
}

module access 'modules/tenant-access.bicep' = if (ownAccount && !empty(appPrincipalId)) {
  scope: group
  params: {
    accountName: own
    principalId: appPrincipalId
  }
  dependsOn: [
    account
  ]
}

module database 'modules/database.bicep' = if (!ownAccount) {
  scope: resourceGroup(stampGroup)
  params: {
    accountName: accountName
    name: databaseName
    containers: declared.tenants.containers
    autoscaleRu: autoscaleRu
    tenantId: tenantId
  }
}

output groupName string = group.name
