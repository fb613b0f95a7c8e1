// A storage account: the host's own (locks, packages) or the tenants' data. No key of it works.

param name string
param location string
param tags object

@description('Standard_LRS, or Standard_ZRS: copies stay in the region, as the data of its tenants must.')
param sku string

@description('Blob containers.')
param containers array

@description('Containers whose blobs are seldom read: they cool after a month.')
param coolContainers array = []

@description('Days that a deleted or replaced blob can be brought back.')
param recoverDays int

@description('Disabled with private networking.')
param publicNetworkAccess string = 'Disabled'

@description('Deny with private networking.')
param defaultAction string = 'Deny'

var cooling = map(coolContainers, one => '${one}/')

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: sku
  }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    isLocalUserEnabled: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: publicNetworkAccess
    networkAcls: {
      defaultAction: defaultAction
      bypass: 'AzureServices'
    }
    encryption: {
      keySource: 'Microsoft.Storage'
      requireInfrastructureEncryption: true
    }
  }
}

// No policy makes blobs immutable: retention of backups deletes, and a part may be written again (decision 0047).
resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' = {
  parent: account
  name: 'default'
  properties: {
    isVersioningEnabled: true
    deleteRetentionPolicy: {
      enabled: true
      days: recoverDays
    }
    containerDeleteRetentionPolicy: {
      enabled: true
      days: recoverDays
    }
  }
}

resource made 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = [
  for one in containers: {
    parent: blobs
    name: one
    properties: {
      publicAccess: 'None'
    }
  }
]

resource lifecycle 'Microsoft.Storage/storageAccounts/managementPolicies@2025-06-01' = {
  parent: account
  name: 'default'
  properties: {
    policy: {
      rules: concat(rules, empty(coolContainers) ? [] : [coolRule])
    }
  }
  dependsOn: [
    blobs // a rule on versions needs versioning
  ]
}

var rules = [
  {
    name: 'old-versions'
    enabled: true
    type: 'Lifecycle'
    definition: {
      filters: {
        blobTypes: ['blockBlob']
      }
      actions: {
        version: {
          delete: {
            daysAfterCreationGreaterThan: recoverDays
          }
        }
      }
    }
  }
]

var coolRule = {
  name: 'seldom-read'
  enabled: true
  type: 'Lifecycle'
  definition: {
    filters: {
      blobTypes: ['blockBlob']
      prefixMatch: cooling
    }
    actions: {
      baseBlob: {
        tierToCool: {
          daysAfterModificationGreaterThan: 30
        }
      }
    }
  }
}
