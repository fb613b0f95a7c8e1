// What delivery may do in the subscription, in which main.bicep makes the stamp's group, its roles and who has them.
targetScope = 'subscription'

param releasePrincipalId string
param buildPrincipalId string

@description('The stamp\'s group, part of the names.')
param names string

var roles = {
  contributor: 'b24988ac-6180-42a0-ab88-20f7382dd24c'
  accessAdministrator: '18d7d88d-d35e-4fb5-a5c3-7773c20a72d9'
}

resource plans 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, names, 'plans')
  properties: {
    roleName: 'Flowgrid plans ${names}'
    description: 'Asks what a deployment would change, and changes nothing.'
    type: 'CustomRole'
    assignableScopes: [subscription().id]
    permissions: [
      {
        actions: [
          'Microsoft.Resources/deployments/read'
          'Microsoft.Resources/deployments/validate/action'
          'Microsoft.Resources/deployments/whatIf/action'
          'Microsoft.Resources/deployments/operationStatuses/read'
          'Microsoft.Resources/subscriptions/resourceGroups/read'
        ]
        notActions: []
      }
    ]
  }
}

resource asks 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(subscription().id, names, 'release', 'plans')
  properties: {
    description: 'Shows what a change would do before it is approved'
    principalId: releasePrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: plans.id
  }
}

resource builds 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(subscription().id, names, 'build', roles.contributor)
  properties: {
    description: 'Makes the stamp'
    principalId: buildPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.contributor)
  }
}

resource grants 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(subscription().id, names, 'build', roles.accessAdministrator)
  properties: {
    description: 'Gives the identities of the stamp their roles, two of which are of our own'
    principalId: buildPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.accessAdministrator)
  }
}
