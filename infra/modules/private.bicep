// Private endpoints of the stores, and the names by which the app finds them.

@description('Of all resources of the stamp, by kind.')
param names object

param location string
param tags object
param redisInUse bool

resource network 'Microsoft.Network/virtualNetworks@2025-05-01' existing = {
  name: names.network

  resource subnet 'subnets' existing = {
    name: 'stores'
  }
}

resource host 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: names.host
}

resource data 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: names.data
}

resource account 'Microsoft.DocumentDB/databaseAccounts@2025-04-15' existing = {
  name: names.cosmos
}

resource bus 'Microsoft.ServiceBus/namespaces@2026-01-01' existing = {
  name: names.bus
}

resource vault 'Microsoft.KeyVault/vaults@2025-05-01' existing = {
  name: names.vault
}

resource redis 'Microsoft.Cache/redisEnterprise@2025-07-01' existing = {
  name: names.redis
}

// Both storage accounts have the first zone.
var zones = [
  'privatelink.blob.${environment().suffixes.storage}'
  'privatelink.documents.azure.com'
  'privatelink.servicebus.windows.net'
  'privatelink.vaultcore.azure.net'
  'privatelink.redis.azure.net'
]
var always = [
  { name: 'host', id: host.id, group: 'blob', zone: 0 }
  { name: 'data', id: data.id, group: 'blob', zone: 0 }
  { name: 'cosmos', id: account.id, group: 'Sql', zone: 1 }
  { name: 'bus', id: bus.id, group: 'namespace', zone: 2 }
  { name: 'vault', id: vault.id, group: 'vault', zone: 3 }
]
var perhaps = [
  { name: 'redis', id: redis.id, group: 'redisEnterprise', zone: 4 }
]
var endpoints = concat(always, redisInUse ? perhaps : [])

resource zone 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for one in zones: {
    name: one
    location: 'global'
    tags: tags
  }
]

resource link 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (one, number) in zones: {
    parent: zone[number]
    name: 'stamp'
    location: 'global'
    tags: tags
    properties: {
      registrationEnabled: false
      virtualNetwork: {
        id: network.id
      }
    }
  }
]

resource endpoint 'Microsoft.Network/privateEndpoints@2025-05-01' = [
  for one in endpoints: {
    name: '${names.network}-${one.name}'
    location: location
    tags: tags
    properties: {
      subnet: {
        id: network::subnet.id
      }
      privateLinkServiceConnections: [
        {
          name: one.name
          properties: {
            privateLinkServiceId: one.id
            groupIds: [one.group]
          }
        }
      ]
    }
  }
]

resource record 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-05-01' = [
  for (one, number) in endpoints: {
    parent: endpoint[number]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [
        {
          name: one.name
          properties: {
            privateDnsZoneId: zone[one.zone].id
          }
        }
      ]
    }
  }
]
