// Service Bus with the queues that the code names, made as it rests on (infra/generated/servicebus.json).

param name string
param location string
param tags object

@description('Standard, or Premium, which private networking needs.')
param sku string

@description('Disabled with private networking.')
param publicNetworkAccess string = 'Disabled'

var declared = loadJsonContent('../generated/servicebus.json')

resource namespace 'Microsoft.ServiceBus/namespaces@2026-01-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: sku
    tier: sku
    capacity: sku == 'Premium' ? 1 : null
  }
  properties: {
    disableLocalAuth: true
    minimumTlsVersion: '1.2'
    publicNetworkAccess: publicNetworkAccess
    premiumMessagingPartitions: sku == 'Premium' ? 1 : null
  }
}

resource queues 'Microsoft.ServiceBus/namespaces/queues@2026-01-01' = [
  for queue in declared.queues: {
    parent: namespace
    name: queue.name
    properties: queue.properties
  }
]
