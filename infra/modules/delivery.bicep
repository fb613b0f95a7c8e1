// Who delivers from GitHub: two identities, signed in by federation, with no secret anywhere (decision 0050).
// `release` brings packages and looks at what a change would do; `build` changes the stamp, behind people who approve.

@description('Name of this deployment, and of the environment on GitHub; the one of `build` ends in -infra.')
param environmentName string

@description('What names begin with.')
param prefix string = 'flowgrid'

param location string
param tags object

@description('Repository on GitHub, owner/name.')
param repository string

@description('Name of the function app.')
param appName string

@description('Name of the host\'s storage account, in which released packages are kept.')
param hostStorageName string

var issuer = 'https://token.actions.githubusercontent.com'
var audience = 'api://AzureADTokenExchange'
var from = 'repo:${repository}:environment:${environmentName}'
// A run of another branch may name an environment too. GitHub tells the branch once it is asked to (docs/operations.md).
var branch = 'ref:refs/heads/main'
var roles = {
  reader: 'acdd72a7-3385-48ef-bd42-f606fba81ae7'
  websiteContributor: 'de139f84-1756-47ae-9be6-808fbbe84772'
  blobDataContributor: 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
}

resource app 'Microsoft.Web/sites@2025-03-01' existing = {
  name: appName
}

resource host 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: hostStorageName
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' existing = {
  parent: host
  name: 'default'
}

resource releases 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = {
  parent: blobs
  name: 'releases'
  properties: {
    publicAccess: 'None'
  }
}

resource release 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${prefix}-${environmentName}-release'
  location: location
  tags: tags
}

resource releaseFromGitHub 'Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials@2024-11-30' = {
  parent: release
  name: 'github'
  properties: {
    issuer: issuer
    subject: '${from}:${branch}'
    audiences: [audience]
  }
}

resource build 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${prefix}-${environmentName}-build'
  location: location
  tags: tags
}

resource buildFromGitHub 'Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials@2024-11-30' = {
  parent: build
  name: 'github'
  properties: {
    issuer: issuer
    subject: '${from}-infra:${branch}'
    audiences: [audience]
  }
}

resource reads 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(resourceGroup().id, release.id, roles.reader)
  properties: {
    description: 'Looks at what a change would do'
    principalId: release.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.reader)
  }
}

resource deploys 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: app
  name: guid(app.id, release.id, roles.websiteContributor)
  properties: {
    description: 'Brings packages to the app'
    principalId: release.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.websiteContributor)
  }
}

resource keeps 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: releases
  name: guid(releases.id, release.id, roles.blobDataContributor)
  properties: {
    description: 'Keeps released packages, and takes them out again'
    principalId: release.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.blobDataContributor)
  }
}

module inSubscription 'delivery-roles.bicep' = {
  scope: subscription()
  params: {
    releasePrincipalId: release.properties.principalId
    buildPrincipalId: build.properties.principalId
    names: resourceGroup().name
  }
}

output releaseClientId string = release.properties.clientId
output buildClientId string = build.properties.clientId
output releasesUrl string = '${host.properties.primaryEndpoints.blob}releases'
