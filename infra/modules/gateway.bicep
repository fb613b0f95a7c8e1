// The gateway itself (docs/gateway.md): API Management, its identity, and where it tells of calls. What it serves is in
// gatewayapi.bicep, since the app has to know this identity before its address is known here.

@description('Name of the API Management service, unique in all of Azure.')
param name string

param location string = resourceGroup().location

param tags object = {}

@description('Basic v2 has ten million calls a month in its price, Standard v2 fifty.')
@allowed(['BasicV2', 'StandardV2'])
param sku string = 'BasicV2'

@description('Units: each takes a part of the calls, and counts rates together with the others.')
@minValue(1)
@maxValue(10)
param units int = 1

@description('Who is told of maintenance.')
param publisherEmail string

param publisherName string = 'Flowgrid'

@description('Name of the Application Insights component, in this resource group.')
param insightsName string

@description('Share of successful calls that are told, in percent; failures are always.')
@minValue(0)
@maxValue(100)
param sampling int = 100

// Monitoring Metrics Publisher: what the logger writes with
var metricsPublisher = '3913510d-42f4-4e42-8a64-420c390055eb'

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

resource gateway 'Microsoft.ApiManagement/service@2024-05-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: sku
    capacity: units
  }
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    publisherEmail: publisherEmail
    publisherName: publisherName
    publicNetworkAccess: 'Enabled'
    developerPortalStatus: 'Disabled'
    apiVersionConstraint: {
      minApiVersion: '2021-08-01'
    }
  }
}

resource telling 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(insights.id, gateway.id, metricsPublisher)
  scope: insights
  properties: {
    principalId: gateway.identity.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', metricsPublisher)
  }
}

resource logger 'Microsoft.ApiManagement/service/loggers@2024-05-01' = {
  parent: gateway
  name: 'insights'
  dependsOn: [telling]
  properties: {
    loggerType: 'applicationInsights'
    resourceId: insights.id
    credentials: {
      connectionString: insights.properties.ConnectionString
      identityClientId: 'SystemAssigned'
    }
  }
}

// Addresses and bodies of callers stay out of it (decision 0045); a trace goes on to the app.
resource diagnostic 'Microsoft.ApiManagement/service/diagnostics@2024-05-01' = {
  parent: gateway
  name: 'applicationinsights'
  properties: {
    loggerId: logger.id
    alwaysLog: 'allErrors'
    httpCorrelationProtocol: 'W3C'
    logClientIp: false
    operationNameFormat: 'Name'
    verbosity: 'error'
    sampling: {
      samplingType: 'fixed'
      percentage: sampling
    }
    frontend: {
      request: {
        headers: []
        body: {
          bytes: 0
        }
      }
      response: {
        headers: []
        body: {
          bytes: 0
        }
      }
    }
    backend: {
      request: {
        headers: []
        body: {
          bytes: 0
        }
      }
      response: {
        headers: []
        body: {
          bytes: 0
        }
      }
    }
  }
}

@description('Object id of the gateway\'s identity: `caller` of FLOWGRID_GATEWAY.')
output principalId string = gateway.identity.principalId

output name string = gateway.name

output url string = gateway.properties.gatewayUrl
