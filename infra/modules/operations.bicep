// Making a database goes on behind its answer, and how far it is is told by the subscription, not by the account.
targetScope = 'subscription'

param principalId string

@description('Names the assignment.')
param identityName string

@description('Part of the name of the role, which is unique in the directory.')
param token string

resource role 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, token, 'operations')
  properties: {
    roleName: 'Flowgrid operations ${token}'
    description: 'Reads how far an operation of Cosmos DB is.'
    type: 'CustomRole'
    assignableScopes: [subscription().id]
    permissions: [
      {
        actions: ['Microsoft.DocumentDB/locations/operationsStatus/read']
        notActions: []
      }
    ]
  }
}

resource assignment 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(subscription().id, identityName, 'operations')
  properties: {
    description: 'Follows the making of databases'
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: role.id
  }
}
