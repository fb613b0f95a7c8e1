// Azure Managed Redis, in which rate limits are counted over all instances (decision 0041). No key of it works.

param name string
param location string
param tags object

@description('Balanced_B0 holds the windows of thousands of tenants.')
param sku string

@description('A second node. Without one, each instance has limits of its own while a node is replaced.')
param highAvailability bool

@description('Disabled with private networking.')
param publicNetworkAccess string = 'Disabled'

@description('Of the identity that signs in.')
param identityName string

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
}

resource cluster 'Microsoft.Cache/redisEnterprise@2025-07-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: sku
  }
  properties: {
    minimumTlsVersion: '1.2'
    highAvailability: highAvailability ? 'Enabled' : 'Disabled'
    publicNetworkAccess: publicNetworkAccess
  }
}

resource database 'Microsoft.Cache/redisEnterprise/databases@2025-07-01' = {
  parent: cluster
  name: 'default'
  properties: {
    accessKeysAuthentication: 'Disabled'
    clientProtocol: 'Encrypted'
    clusteringPolicy: 'EnterpriseCluster' // one address: the client is not one of a cluster
    evictionPolicy: 'VolatileTTL' // every window has an end: the one that ends first goes first
    port: 10000
  }
}

resource access 'Microsoft.Cache/redisEnterprise/databases/accessPolicyAssignments@2025-07-01' = {
  parent: database
  name: 'app'
  properties: {
    accessPolicyName: 'default'
    user: {
      objectId: identity.properties.principalId
    }
  }
}
