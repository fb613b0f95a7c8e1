// The app on Flex Consumption. Its package, its host's storage and every store are signed in to by one identity.

@description('Of all resources of the stamp, by kind.')
param names object

param location string
param tags object

@description('Container of packages in the account for the host.')
param packages string

@description('App settings, over those that are generated from the code (infra/generated/settings.json).')
param settings object

param redisInUse bool

param pythonVersion string
param memoryMb int
param maximumInstances int
param perInstanceConcurrency int

@description('Instances that are always there: name (http, or function:<name>) and instanceCount.')
param alwaysReady array

param zoneRedundant bool

@description('Whether the app calls out of the network of the stamp.')
param inNetwork bool

@description('Enabled: the world, or a gateway outside the network, calls it.')
param publicNetworkAccess string = 'Enabled'

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: names.identity
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: names.insights
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

resource vault 'Microsoft.KeyVault/vaults@2025-05-01' existing = {
  name: names.vault
}

resource redis 'Microsoft.Cache/redisEnterprise@2025-07-01' existing = {
  name: names.redis
}

resource network 'Microsoft.Network/virtualNetworks@2025-05-01' existing = {
  name: names.network

  resource subnet 'subnets' existing = {
    name: 'app'
  }
}

var clientId = identity.properties.clientId
var busHost = '${names.bus}.servicebus.windows.net'
var stores = {
  FLOWGRID_DATABASE: 'cosmos'
  FLOWGRID_COSMOS_ENDPOINT: account.properties.documentEndpoint
  FLOWGRID_COSMOS_ACCOUNT_ID: account.id
  FLOWGRID_MESSAGING: 'servicebus'
  FLOWGRID_SERVICEBUS_NAMESPACE: busHost
  ServiceBusConnection__fullyQualifiedNamespace: busHost
  ServiceBusConnection__credential: 'managedidentity'
  ServiceBusConnection__clientId: clientId
  FLOWGRID_BLOBS: 'azure'
  FLOWGRID_BLOB_ACCOUNT_URL: data.properties.primaryEndpoints.blob
  FLOWGRID_SECRETS: 'keyvault'
  FLOWGRID_KEYVAULT_URL: vault.properties.vaultUri
  FLOWGRID_RATE_LIMITS: redisInUse ? 'redis' : 'memory'
  FLOWGRID_REDIS_URL: redisInUse ? 'rediss://${redis.properties.hostName}:10000' : ''
}
var platform = {
  AzureWebJobsStorage__blobServiceUri: host.properties.primaryEndpoints.blob
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: clientId
  AZURE_CLIENT_ID: clientId // which of an app's identities DefaultAzureCredential takes
  AZURE_TOKEN_CREDENTIALS: 'ManagedIdentityCredential' // and no other way of signing in
  APPLICATIONINSIGHTS_CONNECTION_STRING: insights.properties.ConnectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'Authorization=AAD;ClientId=${clientId}'
}
var defaults = loadJsonContent('../generated/settings.json')
var all = union(defaults, settings, stores, platform)

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: names.plan
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
    zoneRedundant: zoneRedundant
  }
}

resource app 'Microsoft.Web/sites@2025-03-01' = {
  name: names.app
  location: location
  tags: union(tags, { 'azd-service-name': 'api' })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identity.id}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    publicNetworkAccess: publicNetworkAccess
    virtualNetworkSubnetId: inNetwork ? network::subnet.id : null
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      http20Enabled: true
      appSettings: map(items(all), one => { name: one.key, value: string(one.value) })
    }
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${host.properties.primaryEndpoints.blob}${packages}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identity.id
          }
        }
      }
      runtime: {
        name: 'python'
        version: pythonVersion
      }
      scaleAndConcurrency: {
        instanceMemoryMB: memoryMb
        maximumInstanceCount: maximumInstances
        alwaysReady: alwaysReady
        triggers: {
          http: {
            perInstanceConcurrency: perInstanceConcurrency
          }
        }
      }
      // Recreate kills what runs at every change of a setting.
      #disable-next-line BCP037 // the types that Bicep has do not know it yet (flex-consumption-site-updates)
      siteUpdateStrategy: {
        type: 'RollingUpdate'
      }
    }
  }
}

output id string = app.id
output hostName string = app.properties.defaultHostName
