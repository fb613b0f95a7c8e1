// The account of Cosmos DB, with the registry and the shared databases. An account is a stamp (decision 0022).

param name string
param location string
param tags object

@description('Shared databases, shard-1 to shard-N.')
@minValue(1)
@maxValue(100)
param shards int

@description('Autoscale maximum of each shared database in RU/s, a multiple of 1000; 0: a serverless account.')
param autoscaleRu int

@description('Continuous7Days or Continuous30Days: how far back the account itself can be restored.')
param backupTier string

param zoneRedundant bool

@description('Disabled with private networking.')
param publicNetworkAccess string = 'Disabled'

var declared = loadJsonContent('../generated/cosmos.json')
var serverless = autoscaleRu == 0
var serverlessCapabilities = [
  {
    name: 'EnableServerless'
  }
]

resource account 'Microsoft.DocumentDB/databaseAccounts@2025-04-15' = {
  name: name
  location: location
  tags: tags
  kind: 'GlobalDocumentDB'
  properties: {
    databaseAccountOfferType: 'Standard'
    capabilities: serverless ? serverlessCapabilities : []
    // One region, which writes: conditions of commits are decided by one primary, and data stays where it is.
    locations: [
      {
        locationName: location
        failoverPriority: 0
        isZoneRedundant: zoneRedundant
      }
    ]
    enableMultipleWriteLocations: false
    enableAutomaticFailover: false
    consistencyPolicy: {
      defaultConsistencyLevel: 'Session' // decision 0024
    }
    backupPolicy: {
      type: 'Continuous'
      continuousModeProperties: {
        tier: backupTier
      }
    }
    disableLocalAuth: true
    disableKeyBasedMetadataWriteAccess: true
    minimalTlsVersion: 'Tls12'
    publicNetworkAccess: publicNetworkAccess
    networkAclBypass: 'None'
  }
}

module registryDatabase 'database.bicep' = {
  params: {
    accountName: account.name
    name: declared.registry.name
    containers: declared.registry.containers
    autoscaleRu: serverless ? 0 : 1000 // the least there is: it is read once in five seconds, tenant and instance
  }
}

// One after the other: an account takes one such operation at a time.
@batchSize(1)
module shard 'database.bicep' = [
  for number in range(1, shards): {
    params: {
      accountName: account.name
      name: '${declared.tenants.prefix}${number}'
      containers: declared.tenants.containers
      autoscaleRu: autoscaleRu
    }
    dependsOn: [
      registryDatabase
    ]
  }
]
