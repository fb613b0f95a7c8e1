// What an app may do in the account of a tenant: read and write items; nothing of keys, databases or containers.

param accountName string

@description('Identity of the app.')
param principalId string

var dataContributor = '00000000-0000-0000-0000-000000000002' // built in

resource account 'Microsoft.DocumentDB/databaseAccounts@2025-04-15' existing = {
  name: accountName
}

resource assignment 'Microsoft.DocumentDB/databaseAccounts/sqlRoleAssignments@2025-04-15' = {
  parent: account
  name: guid(account.id, principalId, dataContributor)
  properties: {
    principalId: principalId
    roleDefinitionId: '${account.id}/sqlRoleDefinitions/${dataContributor}'
    scope: account.id
  }
}
