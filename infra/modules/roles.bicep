// What the app's identity may do, each on the one store that it needs it for. Signing in to Redis is in redis.bicep.

@description('Of all resources of the stamp, by kind.')
param names object

@description('Part of the names of roles of our own, which are unique in the directory.')
param token string

var queues = loadJsonContent('../generated/servicebus.json').queues

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: names.identity
}

resource host 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: names.host
}

resource data 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: names.data
}

resource namespace 'Microsoft.ServiceBus/namespaces@2026-01-01' existing = {
  name: names.bus
}

resource queue 'Microsoft.ServiceBus/namespaces/queues@2026-01-01' existing = [
  for one in queues: {
    parent: namespace
    name: one.name
  }
]

resource vault 'Microsoft.KeyVault/vaults@2025-05-01' existing = {
  name: names.vault
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: names.insights
}

resource account 'Microsoft.DocumentDB/databaseAccounts@2025-04-15' existing = {
  name: names.cosmos
}

var roles = {
  blobDataOwner: 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
  blobDataContributor: 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
  busDataOwner: '090c5cfd-751d-490a-894a-3ce6f1109419'
  secretsOfficer: 'b86a8fe4-44ce-4948-aee5-eccb2c155cd7'
  metricsPublisher: '3913510d-42f4-4e42-8a64-420c390055eb'
}

// The host keeps the locks of timers and its own secrets there, and reads the package.
resource hostBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: host
  name: guid(host.id, identity.id, roles.blobDataOwner)
  properties: {
    description: 'Locks of timers, the secrets of the host, the package'
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.blobDataOwner)
  }
}

// Without tags and leases, which would take the Owner (shared/blobs/azure.py).
resource dataBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: data
  name: guid(data.id, identity.id, roles.blobDataContributor)
  properties: {
    description: 'Backups, imports, segments of the audit, usage, what runs have said'
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.blobDataContributor)
  }
}

// Sends, receives, and lets the platform see how many wait: scaling by them takes the right to manage a queue, without
// it comes one instance at a time (functions-target-based-scaling).
resource messages 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for (one, number) in queues: {
    scope: queue[number]
    name: guid(queue[number].id, identity.id, roles.busDataOwner)
    properties: {
      description: 'Sends, receives, dead letters, and scaling by what waits'
      principalId: identity.properties.principalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.busDataOwner)
    }
  }
]

// Sets, reads, deletes and recovers, and never purges (shared/secrets/keyvault.py).
resource secrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: vault
  name: guid(vault.id, identity.id, roles.secretsOfficer)
  properties: {
    description: 'Keys of providers, by tenant, and the keys of the platform'
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.secretsOfficer)
  }
}

// Application Insights takes no key.
resource telemetry 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: insights
  name: guid(insights.id, identity.id, roles.metricsPublisher)
  properties: {
    description: 'Sends telemetry'
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.metricsPublisher)
  }
}

// Items and queries in every database, as those of dedicated tenants come later. No change feed, no conflicts. What a
// transactional batch takes is documented nowhere; it may be `executeStoredProcedure`, and nobody here can make one.
resource itemsRole 'Microsoft.DocumentDB/databaseAccounts/sqlRoleDefinitions@2025-04-15' = {
  parent: account
  name: guid(account.id, 'items')
  properties: {
    roleName: 'Flowgrid items'
    type: 'CustomRole'
    assignableScopes: [account.id]
    permissions: [
      {
        dataActions: [
          'Microsoft.DocumentDB/databaseAccounts/readMetadata'
          'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers/executeQuery'
          'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers/executeStoredProcedure'
          'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers/items/*'
        ]
      }
    ]
  }
}

resource items 'Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments@2025-04-15' = {
  parent: account
  name: guid(account.id, identity.id, 'items')
  properties: {
    principalId: identity.properties.principalId
    roleDefinitionId: itemsRole.id
    scope: account.id
  }
}

// Databases of dedicated tenants are made, and unmade when that fails (shared/database/cosmos/provisioner.py): a part
// of Cosmos DB Operator, which may delete the account.
resource databasesRole 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(account.id, 'databases')
  properties: {
    roleName: 'Flowgrid databases ${token}'
    description: 'Makes and unmakes databases in one account of Cosmos DB, and their containers.'
    type: 'CustomRole'
    assignableScopes: [resourceGroup().id]
    permissions: [
      {
        actions: [
          'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/read'
          'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/write'
          'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/delete'
          'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/operationResults/read'
          'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers/read'
          'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers/write'
          'Microsoft.DocumentDB/databaseAccounts/sqlDatabases/containers/operationResults/read'
        ]
        notActions: []
      }
    ]
  }
}

resource databases 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: account
  name: guid(account.id, identity.id, 'databases')
  properties: {
    description: 'Databases of dedicated tenants'
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: databasesRole.id
  }
}
