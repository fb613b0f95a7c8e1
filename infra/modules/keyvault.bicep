// Secrets of the platform and of its tenants. Roles say who reads them, and nothing purges them early.

param name string
param location string
param tags object

@description('Disabled with private networking.')
param publicNetworkAccess string = 'Disabled'

@description('Deny with private networking.')
param defaultAction string = 'Deny'

resource vault 'Microsoft.KeyVault/vaults@2025-05-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: subscription().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    enablePurgeProtection: true
    publicNetworkAccess: publicNetworkAccess
    networkAcls: {
      defaultAction: defaultAction
      bypass: 'None'
    }
  }
}
