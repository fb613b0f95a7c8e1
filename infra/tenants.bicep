// The dedicated tenants of a stamp, one after the other: an account takes one such operation at a time.
targetScope = 'subscription'

@description('Tenants: id, tier, database; optional ownAccount.')
param tenants array

@description('Name of the stamp\'s deployment.')
param environmentName string

@description('Region of the stamp.')
param location string

@description('Group of the stamp.')
param stampGroup string

@description('Account of Cosmos DB of the stamp.')
param accountName string

@description('Autoscale maximum of each database in RU/s; 0: a serverless account.')
param autoscaleRu int = 0

@description('Identity of the app, which works with the accounts that are made here; empty: its roles are given elsewhere.')
param appPrincipalId string = ''

@description('Of the accounts that are made here; Disabled with private networking.')
param publicNetworkAccess string = 'Disabled'

@batchSize(1)
module tenant 'tenant.bicep' = [
  for one in tenants: {
    params: {
      tenantId: one.id
      tier: one.tier
      databaseName: one.database
      ownAccount: one.?ownAccount ?? false
      environmentName: environmentName
      location: location
      stampGroup: stampGroup
      accountName: accountName
      autoscaleRu: autoscaleRu
      appPrincipalId: appPrincipalId
      publicNetworkAccess: publicNetworkAccess
    }
  }
]
