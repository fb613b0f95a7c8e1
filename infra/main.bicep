// A stamp: all of Flowgrid in one region, with stores of its own. A tenant lives in one (decision 0047).
targetScope = 'subscription'

@description('Begins the names of all resources.')
@minLength(2)
@maxLength(12)
param prefix string = 'flowgrid'

@description('Name of this deployment: dev, prod, …')
@minLength(2)
@maxLength(16)
param environmentName string

@description('The region, in which all of it stays.')
param location string

@description('Accepted token issuers, as FLOWGRID_ISSUERS has them (docs/settings.md).')
@minLength(1)
param issuers array

@description('More app settings, by name: FLOWGRID_CORS_ORIGINS, FLOWGRID_AI_WIRE, … (docs/settings.md).')
param settings object = {}

@description('How many proxies in front of the app tell the address that they see (docs/settings.md).')
param trustedProxies int = 1

@description('Shared databases that new tenants spread over.')
param shards int = 1

@description('Autoscale maximum of each database of tenants in RU/s, a multiple of 1000; 0: a serverless account.')
param autoscaleRu int = 0

@description('How far back the whole account of Cosmos DB can be restored.')
@allowed(['Continuous7Days', 'Continuous30Days'])
param cosmosBackup string = 'Continuous7Days'

@description('SKU of Azure Managed Redis, such as Balanced_B0; empty: each instance has rate limits of its own.')
param redisSku string = ''

@description('Copies in three zones of the region, and two nodes of Redis.')
param zoneRedundant bool = false

@description('Stores are reached from the own network only. Takes Service Bus Premium.')
param privateNetworking bool = false

@description('Version of Python on Flex Consumption.')
param pythonVersion string = '3.12'

@description('Memory of an instance in MB.')
@allowed([512, 2048, 4096])
param memoryMb int = 2048

@description('Most instances of the app.')
@minValue(40)
@maxValue(1000)
param maximumInstances int = 100

@description('Calls that an instance takes at a time. On Flex Consumption the default of Python is one.')
@minValue(1)
param perInstanceConcurrency int = 16

@description('Instances that are always there: name (http, or function:<name>) and instanceCount.')
param alwaysReady array = []

@description('Percent of traces, and of calls at the gateway, of which telemetry tells successes.')
@minValue(1)
@maxValue(100)
param telemetryPercent int = 100

@description('Days that logs are kept.')
param logDays int = 30

@description('Gigabytes of logs a day, beyond which none are taken; -1: no bound.')
param logQuotaGb int = -1

@description('SKU of API Management, BasicV2 or StandardV2; empty: there is no gateway (docs/gateway.md).')
param gatewaySku string = ''

@description('Client id of the app registration that the gateway\'s own tokens are for; needed with a gateway.')
param gatewayAudience string = ''

@description('Who is told of the gateway\'s maintenance; needed with a gateway.')
param gatewayEmail string = ''

@description('Origins of web pages that the gateway lets call; FLOWGRID_CORS_ORIGINS is then empty.')
param gatewayOrigins array = []

@description('Host names of apps of single services, by service, where there are several (docs/gateway.md).')
param gatewayHosts object = {}

@description('Days that deleted and replaced blobs can be brought back.')
param recoverDays int = 14

@description('Who is told when somebody should look; everybody gets every alert.')
@minLength(1)
param alertEmails array

@description('Where the runbooks are, to which alerts lead.')
param runbookUrl string = 'docs/operations.md'

@description('US dollars a month for the stamp.')
param monthlyBudget int

@description('First day of the month from which the budget counts, such as 2026-12-01; it cannot be changed afterwards.')
param budgetStartDate string

@description('Repository on GitHub from which is deployed, owner/name; empty: from nowhere.')
param repository string = ''

var token = uniqueString(subscription().id, environmentName, location)
var plain = toLower(replace('${prefix}${environmentName}', '-', '')) // names of 24 letters and digits, with a token of 13
var names = {
  group: '${prefix}-${environmentName}-${location}'
  identity: '${prefix}-${environmentName}-app'
  workspace: '${prefix}-${environmentName}-logs'
  insights: '${prefix}-${environmentName}-insights'
  host: '${take(plain, 7)}host${token}'
  data: '${take(plain, 7)}data${token}'
  cosmos: toLower('${prefix}-${environmentName}-${token}')
  bus: '${prefix}-${environmentName}-${token}'
  vault: '${take(plain, 10)}-${token}'
  redis: '${prefix}-${environmentName}-${token}'
  plan: '${prefix}-${environmentName}-plan'
  app: '${prefix}-${environmentName}-${token}'
  network: '${prefix}-${environmentName}-network'
  gateway: '${prefix}-${environmentName}-${token}'
}
var tags = {
  product: 'flowgrid'
  environment: environmentName
  stamp: location
  'azd-env-name': environmentName
}
var publicAccess = privateNetworking ? 'Disabled' : 'Enabled'
var defaultAction = privateNetworking ? 'Deny' : 'Allow'
var redundancy = zoneRedundant ? 'Standard_ZRS' : 'Standard_LRS'
var packages = 'packages'
var defaults = loadJsonContent('generated/settings.json')
var declared = loadJsonContent('generated/blobs.json')

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: names.group
  location: location
  tags: tags
}

module identity 'modules/identity.bicep' = {
  scope: group
  params: {
    name: names.identity
    location: location
    tags: tags
  }
}

module workspace 'modules/workspace.bicep' = {
  scope: group
  params: {
    workspaceName: names.workspace
    insightsName: names.insights
    location: location
    tags: tags
    retentionDays: logDays
    dailyQuotaGb: logQuotaGb
  }
}

module host 'modules/storage.bicep' = {
  scope: group
  params: {
    name: names.host
    location: location
    tags: tags
    sku: redundancy
    containers: [packages]
    recoverDays: recoverDays
    publicNetworkAccess: publicAccess
    defaultAction: defaultAction
  }
}

module data 'modules/storage.bicep' = {
  scope: group
  params: {
    name: names.data
    location: location
    tags: tags
    sku: redundancy
    containers: declared.containers
    coolContainers: declared.cool
    recoverDays: recoverDays
    publicNetworkAccess: publicAccess
    defaultAction: defaultAction
  }
}

module cosmos 'modules/cosmos.bicep' = {
  scope: group
  params: {
    name: names.cosmos
    location: location
    tags: tags
    shards: shards
    autoscaleRu: autoscaleRu
    backupTier: cosmosBackup
    zoneRedundant: zoneRedundant
    publicNetworkAccess: publicAccess
  }
}

module bus 'modules/servicebus.bicep' = {
  scope: group
  params: {
    name: names.bus
    location: location
    tags: tags
    sku: privateNetworking ? 'Premium' : 'Standard'
    publicNetworkAccess: publicAccess
  }
}

module vault 'modules/keyvault.bicep' = {
  scope: group
  params: {
    name: names.vault
    location: location
    tags: tags
    publicNetworkAccess: publicAccess
    defaultAction: defaultAction
  }
}

module redis 'modules/redis.bicep' = if (!empty(redisSku)) {
  scope: group
  params: {
    name: names.redis
    location: location
    tags: tags
    sku: redisSku
    highAvailability: zoneRedundant
    publicNetworkAccess: publicAccess
    identityName: names.identity
  }
  dependsOn: [
    identity
  ]
}

module network 'modules/network.bicep' = if (privateNetworking) {
  scope: group
  params: {
    name: names.network
    location: location
    tags: tags
  }
}

module private 'modules/private.bicep' = if (privateNetworking) {
  scope: group
  params: {
    names: names
    location: location
    tags: tags
    redisInUse: !empty(redisSku)
  }
  dependsOn: [
    network
    host
    data
    cosmos
    bus
    vault
    redis
  ]
}

module roles 'modules/roles.bicep' = {
  scope: group
  params: {
    names: names
    token: token
  }
  dependsOn: [
    identity
    workspace
    host
    data
    cosmos
    bus
    vault
  ]
}

module operations 'modules/operations.bicep' = {
  params: {
    principalId: identity.outputs.principalId
    identityName: '${names.group}/${names.identity}'
    token: token
  }
}

module gateway 'modules/gateway.bicep' = if (!empty(gatewaySku)) {
  scope: group
  params: {
    name: names.gateway
    location: location
    tags: tags
    sku: gatewaySku
    publisherEmail: gatewayEmail
    insightsName: names.insights
    sampling: telemetryPercent
  }
  dependsOn: [
    workspace
  ]
}

module gatewayApi 'modules/gatewayapi.bicep' = if (!empty(gatewaySku)) {
  scope: group
  params: {
    gatewayName: names.gateway
    appHost: app.outputs.hostName
    hosts: gatewayHosts
    issuers: issuers
    tenantClaim: settings.?FLOWGRID_TENANT_CLAIM ?? defaults.FLOWGRID_TENANT_CLAIM
    rolesClaim: settings.?FLOWGRID_ROLES_CLAIM ?? defaults.FLOWGRID_ROLES_CLAIM
    audience: gatewayAudience
    publicUrl: settings.?FLOWGRID_PUBLIC_URL ?? before.FLOWGRID_PUBLIC_URL
    corsOrigins: gatewayOrigins
  }
}

module app 'modules/app.bicep' = {
  scope: group
  params: {
    names: names
    location: location
    tags: tags
    packages: packages
    settings: union(before, settings, own)
    redisInUse: !empty(redisSku)
    pythonVersion: pythonVersion
    memoryMb: memoryMb
    maximumInstances: maximumInstances
    perInstanceConcurrency: perInstanceConcurrency
    alwaysReady: alwaysReady
    zoneRedundant: zoneRedundant
    inNetwork: privateNetworking
  }
  dependsOn: [
    roles // the host signs in when it starts
    redis
    private
  ]
}

module observability 'modules/observability.bicep' = {
  scope: group
  params: {
    environmentName: environmentName
    prefix: prefix
    location: location
    tags: tags
    workspaceName: names.workspace
    insightsName: names.insights
    healthUrl: '${address}/api/health'
    alertEmails: alertEmails
    runbookUrl: runbookUrl
    monthlyBudget: monthlyBudget
    budgetStartDate: budgetStartDate
  }
  dependsOn: [
    workspace
  ]
}

module delivery 'modules/delivery.bicep' = if (!empty(repository)) {
  scope: group
  params: {
    environmentName: environmentName
    prefix: prefix
    location: location
    tags: tags
    repository: repository
    appName: names.app
    hostStorageName: names.host
  }
  dependsOn: [
    host
    app
  ]
}

// Version 2 of Entra's tokens (docs/gateway.md); the caller is asked for by its object id.
var gatewayCaller = {
  issuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
  audience: gatewayAudience
  caller: gateway.?outputs.principalId ?? ''
}

// Where clients call: what comes around the gateway is refused.
var address = empty(gatewaySku) ? 'https://${app.outputs.hostName}' : gateway.?outputs.url ?? ''

// What is before the app; `settings` may say otherwise, as who has a gateway of another kind has to.
var before = {
  FLOWGRID_GATEWAY: empty(gatewaySku) ? '' : string([gatewayCaller])
  FLOWGRID_TRUSTED_PROXIES: string(empty(gatewaySku) ? trustedProxies : trustedProxies + 1)
  FLOWGRID_PUBLIC_URL: empty(gatewaySku) ? 'https://${names.app}.azurewebsites.net' : gateway.?outputs.url ?? ''
}

var own = {
  FLOWGRID_ENVIRONMENT: environmentName
  FLOWGRID_REGION: location
  FLOWGRID_COSMOS_DEDICATED_RU: string(autoscaleRu)
  FLOWGRID_SHARDS: string(shards)
  FLOWGRID_ISSUERS: string(issuers)
  FLOWGRID_TELEMETRY_SAMPLE: telemetryPercent == 100 ? '1.0' : '0.${padLeft(telemetryPercent, 2, '0')}'
}

output resourceGroupName string = group.name
output appName string = names.app
output apiUrl string = '${address}/api'
output publicUrl string = settings.?FLOWGRID_PUBLIC_URL ?? before.FLOWGRID_PUBLIC_URL
output identityPrincipalId string = identity.outputs.principalId
output workspaceId string = workspace.outputs.workspaceId
output insightsId string = workspace.outputs.insightsId
output releasesAccount string = names.host
output releaseClientId string = empty(repository) ? '' : delivery!.outputs.releaseClientId
output buildClientId string = empty(repository) ? '' : delivery!.outputs.buildClientId
