// A database with its containers, as the code declares them (infra/generated/cosmos.json).

param accountName string
param name string

@description('Containers: id, partitionKey, defaultTtl, indexingPolicy.')
param containers array

@description('Autoscale maximum that the containers share, in RU/s; 0: the account is serverless.')
param autoscaleRu int

@description('The only tenant in it, which tags it; empty: many.')
param tenantId string = ''

var autoscale = {
  autoscaleSettings: {
    maxThroughput: autoscaleRu
  }
}

var tenantTags = {
  tenant: tenantId
}

resource account 'Microsoft.DocumentDB/databaseAccounts@2025-04-15' existing = {
  name: accountName
}

resource database 'Microsoft.DocumentDB/databaseAccounts/sqlDatabases@2025-04-15' = {
  parent: account
  name: name
  tags: empty(tenantId) ? null : tenantTags
  properties: {
    resource: {
      id: name
    }
    options: autoscaleRu == 0 ? {} : autoscale
  }
}

@batchSize(1)
resource made 'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers@2025-04-15' = [
  for one in containers: {
    parent: database
    name: one.id
    properties: {
      resource: one
    }
  }
]
