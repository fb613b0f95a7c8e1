// What the gateway serves: the API by version, with policies that are made from the plans and the routes
// (`python -m cli.gateway` writes infra/gateway/; docs/gateway.md).

@description('Name of the API Management service (gateway.bicep).')
param gatewayName string

@description('Host name of the app that has all services, or all that `hosts` does not name.')
param appHost string

@description('Host names of apps of single services (FLOWGRID_SERVICES), by service.')
param hosts object = {}

@description('Accepted token issuers, as FLOWGRID_ISSUERS has them (docs/settings.md).')
@minLength(1)
param issuers array

@description('FLOWGRID_TENANT_CLAIM: where an issuer has no tenant_claim of its own.')
param tenantClaim string

@description('FLOWGRID_ROLES_CLAIM: where an issuer has no roles_claim of its own.')
param rolesClaim string

@description('What the gateway\'s own tokens are for: `audience` of FLOWGRID_GATEWAY, an app registration\'s client id.')
param audience string

@description('FLOWGRID_PUBLIC_URL: where clients reach the gateway.')
param publicUrl string

@description('Origins of web pages that may call. FLOWGRID_CORS_ORIGINS is then empty: each answer has them once.')
param corsOrigins array = []

var backends = loadJsonContent('../gateway/backends.json')
var origins = [for origin in corsOrigins: '<origin>${origin}</origin>']
var pages = replace(loadTextContent('../gateway/cors.xml'), '<!-- origins -->', join(origins, ''))
var cors = empty(corsOrigins) ? '' : pages
var eachIssuer = loadTextContent('../gateway/issuer.xml')
var known = [for (issuer, n) in issuers: replace(eachIssuer, 'issuer-N', 'issuer-${n}')]
var v1Policy = replace(loadTextContent('../gateway/v1.xml'), '<!-- issuers -->', join(known, '\n'))

resource gateway 'Microsoft.ApiManagement/service@2024-05-01' existing = {
  name: gatewayName

  resource logger 'loggers' existing = {
    name: 'insights'
  }
}

resource gatewayAudience 'Microsoft.ApiManagement/service/namedValues@2024-05-01' = {
  parent: gateway
  name: 'gateway-audience'
  properties: {
    displayName: 'gateway-audience'
    value: audience
  }
}

resource publicAddress 'Microsoft.ApiManagement/service/namedValues@2024-05-01' = {
  parent: gateway
  name: 'public-url'
  properties: {
    displayName: 'public-url'
    value: publicUrl
  }
}

resource issuerNames 'Microsoft.ApiManagement/service/namedValues@2024-05-01' = [
  for (issuer, n) in issuers: {
    parent: gateway
    name: 'issuer-${n}'
    properties: {
      displayName: 'issuer-${n}'
      value: issuer.issuer
    }
  }
]

resource issuerConfigs 'Microsoft.ApiManagement/service/namedValues@2024-05-01' = [
  for (issuer, n) in issuers: {
    parent: gateway
    name: 'issuer-${n}-openid-config'
    properties: {
      displayName: 'issuer-${n}-openid-config'
      value: '${issuer.issuer}${endsWith(issuer.issuer, '/') ? '' : '/'}.well-known/openid-configuration'
    }
  }
]

resource issuerAudiences 'Microsoft.ApiManagement/service/namedValues@2024-05-01' = [
  for (issuer, n) in issuers: {
    parent: gateway
    name: 'issuer-${n}-audience'
    properties: {
      displayName: 'issuer-${n}-audience'
      value: issuer.audience
    }
  }
]

resource issuerTenants 'Microsoft.ApiManagement/service/namedValues@2024-05-01' = [
  for (issuer, n) in issuers: {
    parent: gateway
    name: 'issuer-${n}-tenant-claim'
    properties: {
      displayName: 'issuer-${n}-tenant-claim'
      value: issuer.?tenant_claim ?? tenantClaim
    }
  }
]

resource issuerRoles 'Microsoft.ApiManagement/service/namedValues@2024-05-01' = [
  for (issuer, n) in issuers: {
    parent: gateway
    name: 'issuer-${n}-roles-claim'
    properties: {
      displayName: 'issuer-${n}-roles-claim'
      value: issuer.?roles_claim ?? rolesClaim
    }
  }
]

resource apps 'Microsoft.ApiManagement/service/backends@2024-05-01' = [
  for one in backends: {
    parent: gateway
    name: one.name
    properties: {
      protocol: 'http'
      url: 'https://${hosts[?one.service] ?? appHost}/${one.path}'
      tls: {
        validateCertificateChain: true
        validateCertificateName: true
      }
    }
  }
]

resource everywhere 'Microsoft.ApiManagement/service/policies@2024-05-01' = {
  parent: gateway
  name: 'policy'
  dependsOn: [gatewayAudience]
  properties: {
    format: 'xml'
    value: replace(loadTextContent('../gateway/global.xml'), '<!-- cors -->', cors)
  }
}

// Versions are the first segment below `api`. What has none (health, descriptions, claims) is an API of its own here; v2
// is another of these, with its own operations and policy, beside v1.
resource versions 'Microsoft.ApiManagement/service/apiVersionSets@2024-05-01' = {
  parent: gateway
  name: 'flowgrid'
  properties: {
    displayName: 'Flowgrid'
    versioningScheme: 'Segment'
  }
}

resource open 'Microsoft.ApiManagement/service/apis@2024-05-01' = {
  parent: gateway
  name: 'flowgrid'
  properties: {
    displayName: 'Flowgrid'
    path: 'api'
    protocols: ['https']
    subscriptionRequired: false
    apiVersionSetId: versions.id
    serviceUrl: 'https://${appHost}/api'
    format: 'openapi+json'
    value: string(loadJsonContent('../gateway/openapi.json'))
  }
}

// What it is told is not sampled but left out: some of its paths hold what opens something (hooks/decisions/{token}).
// The app tells of each call, by its route (decision 0045).
resource openDiagnostic 'Microsoft.ApiManagement/service/apis/diagnostics@2024-05-01' = {
  parent: open
  name: 'applicationinsights'
  properties: {
    loggerId: gateway::logger.id
    httpCorrelationProtocol: 'W3C'
    logClientIp: false
    sampling: {
      samplingType: 'fixed'
      percentage: 0
    }
  }
}

resource openPolicy 'Microsoft.ApiManagement/service/apis/policies@2024-05-01' = {
  parent: open
  name: 'policy'
  dependsOn: [apps]
  properties: {
    format: 'xml'
    value: loadTextContent('../gateway/open.xml')
  }
}

resource v1 'Microsoft.ApiManagement/service/apis@2024-05-01' = {
  parent: gateway
  name: 'flowgrid-v1'
  properties: {
    displayName: 'Flowgrid'
    path: 'api'
    protocols: ['https']
    subscriptionRequired: false
    apiVersion: 'v1'
    apiVersionSetId: versions.id
    serviceUrl: 'https://${appHost}/api/v1'
    format: 'openapi+json'
    value: string(loadJsonContent('../gateway/openapi.v1.json'))
  }
}

resource versionedPolicy 'Microsoft.ApiManagement/service/apis/policies@2024-05-01' = {
  parent: v1
  name: 'policy'
  dependsOn: [apps, publicAddress, issuerNames, issuerConfigs, issuerAudiences, issuerTenants, issuerRoles]
  properties: {
    format: 'xml'
    value: v1Policy
  }
}
