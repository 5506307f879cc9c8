// Headwater on Azure: a lake on ADLS Gen2, a function app that keeps it up to date, and what wakes and watches it.
//
// Names are built from `name`: take a short one in lower case. Nothing here holds a key: all access is by identities and roles.

targetScope = 'resourceGroup'

@description('What all names begin with: 3 to 12 letters in lower case and digits.')
@minLength(3)
@maxLength(12)
param name string

@description('Where it runs. Flex Consumption must be offered there.')
param location string = resourceGroup().location

@description('The event sources, as in read_events(\'<name>\'), that a hub is made for. It has the source\'s name.')
param sourceNames array = ['events']

@description('The namespace of each source that the project binds to a hub of your own, such as {orders: \'mine.servicebus.windows.net\'}.')
param ownNamespaces object = {}

@description('Partitions of each event hub.')
@minValue(1)
@maxValue(32)
param partitionCount int = 4

@description('Throughput units of the namespace: 1 MB/s in and 2 MB/s out each.')
@minValue(1)
@maxValue(40)
param throughputUnits int = 1

@description('Days that event hubs keep events, read or not.')
@minValue(1)
@maxValue(7)
param eventRetentionDays int = 7

@description('Whether Event Hubs Capture also writes all events to files below the landing container, in folders by namespace and hub. It is charged by the throughput unit.')
param capture bool = false

@description('How often views are brought up to date, as NCRONTAB. Runs further apart than a quarter of an hour raise the alarm of stale views.')
param goldSchedule string = '0 * * * * *'

@description('How often work is looked for whose notification never came.')
param sweepSchedule string = '30 */5 * * * *'

@description('How often small files are rewritten and logs are cleaned.')
param compactSchedule string = '0 17 * * * *'

@description('Instances of each function at most. Writers of one table take turns at its log, so that few large batches land more than many small ones.')
@minValue(40)
@maxValue(1000)
param maximumInstances int = 40

@description('Memory of an instance.')
@allowed([2048, 4096])
param instanceMemory int = 2048

@description('What the functions log, such as info or debug; empty for what they did and what went wrong.')
param logLevel string = ''

@description('How long logs are kept.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 30

@description('Days for which deleted blobs of the lake and of the landing container can be brought back.')
@minValue(1)
@maxValue(365)
param softDeleteDays int = 7

@description('Who is told of alarms; empty for nobody.')
param alarmEmail string = ''

// Each source is bound to the hub of its name. The functions read by a consumer group of their own: the one of the triggers is the host's.
var bindings = [
  for source in sourceNames: {
    name: 'HEADWATER_SOURCES_${toUpper(replace(source, '-', '_'))}'
    value: 'eventhubs://${eventHubs.name}.servicebus.windows.net/${source}?consumer_group=headwater-reads'
  }
]
var ownHubs = [
  for own in items(ownNamespaces): {
    name: 'HEADWATER_EVENT_HUBS_${toUpper(replace(own.key, '-', '_'))}__fullyQualifiedNamespace'
    value: own.value
  }
]

var suffix = take(uniqueString(resourceGroup().id), 8)
var roles = {
  blobDataContributor: 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
  blobDataOwner: 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
  blobDataReader: '2a2b9908-6ea1-4ae2-8e65-a410df84e7d1'
  eventHubsDataReceiver: 'a638d3c7-ab3a-418d-83e6-5f17a39d4fde'
  monitoringMetricsPublisher: '3913510d-42f4-4e42-8a64-420c390055eb'
  queueDataContributor: '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
  queueDataMessageSender: 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a'
}

// --- What is stored

resource lake 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  name: '${name}lake${suffix}'
  location: location
  kind: 'StorageV2'
  sku: { name: 'Standard_ZRS' }
  properties: {
    isHnsEnabled: true
    accessTier: 'Hot'
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    allowBlobPublicAccess: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
  }
}

resource lakeBlobs 'Microsoft.Storage/storageAccounts/blobServices@2023-05-01' = {
  parent: lake
  name: 'default'
  properties: {
    deleteRetentionPolicy: { enabled: true, days: softDeleteDays }
    containerDeleteRetentionPolicy: { enabled: true, days: softDeleteDays }
  }
}

resource tables 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' = {
  parent: lakeBlobs
  name: 'lake'
  properties: { publicAccess: 'None' }
}

resource landing 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' = {
  parent: lakeBlobs
  name: 'landing'
  properties: { publicAccess: 'None' }
}

// The function app's own account: its code, its locks and checkpoints, and the queues of notices.
resource host 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  name: '${name}host${suffix}'
  location: location
  kind: 'StorageV2'
  sku: { name: 'Standard_LRS' }
  properties: {
    accessTier: 'Hot'
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    allowBlobPublicAccess: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
  }
}

resource hostBlobs 'Microsoft.Storage/storageAccounts/blobServices@2023-05-01' = {
  parent: host
  name: 'default'
  properties: {
    deleteRetentionPolicy: { enabled: true, days: 7 }
    containerDeleteRetentionPolicy: { enabled: true, days: 7 }
  }
}

resource deployments 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' = {
  parent: hostBlobs
  name: 'deployments'
  properties: { publicAccess: 'None' }
}

resource undelivered 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' = {
  parent: hostBlobs
  name: 'undelivered'
  properties: { publicAccess: 'None' }
}

resource hostQueues 'Microsoft.Storage/storageAccounts/queueServices@2023-05-01' = {
  parent: host
  name: 'default'
}

resource arrivals 'Microsoft.Storage/storageAccounts/queueServices/queues@2023-05-01' = {
  parent: hostQueues
  name: 'headwater-arrivals'
}

resource commits 'Microsoft.Storage/storageAccounts/queueServices/queues@2023-05-01' = {
  parent: hostQueues
  name: 'headwater-commits'
}

// --- What arrives

resource eventHubs 'Microsoft.EventHub/namespaces@2024-01-01' = {
  name: '${name}-hubs-${suffix}'
  location: location
  sku: { name: 'Standard', tier: 'Standard', capacity: throughputUnits }
  identity: { type: 'SystemAssigned' }
  properties: {
    disableLocalAuth: true
    minimumTlsVersion: '1.2'
    zoneRedundant: true
  }
}

resource hubs 'Microsoft.EventHub/namespaces/eventhubs@2024-01-01' = [
  for source in sourceNames: {
    parent: eventHubs
    name: source
    dependsOn: [hubsOnLanding]
    properties: {
      partitionCount: partitionCount
      retentionDescription: { cleanupPolicy: 'Delete', retentionTimeInHours: eventRetentionDays * 24 }
      captureDescription: {
        enabled: capture
        encoding: 'Avro'
        intervalInSeconds: 300
        sizeLimitInBytes: 104857600
        skipEmptyArchives: true
        destination: {
          name: 'EventHubArchive.AzureBlockBlob'
          identity: { type: 'SystemAssigned' }
          properties: {
            storageAccountResourceId: lake.id
            blobContainer: landing.name
            archiveNameFormat: '{Namespace}/{EventHub}/{PartitionId}/{Year}/{Month}/{Day}/{Hour}/{Minute}/{Second}'
          }
        }
      }
    }
  }
]

resource consumers 'Microsoft.EventHub/namespaces/eventhubs/consumergroups@2024-01-01' = [
  for (source, index) in sourceNames: {
    parent: hubs[index]
    name: 'headwater'
  }
]

resource readers 'Microsoft.EventHub/namespaces/eventhubs/consumergroups@2024-01-01' = [
  for (source, index) in sourceNames: {
    parent: hubs[index]
    name: 'headwater-reads'
  }
]

// --- What tells the functions: blobs that were stored are messages of a queue

resource notices 'Microsoft.EventGrid/systemTopics@2022-06-15' = {
  name: '${name}-notices'
  location: location
  identity: { type: 'SystemAssigned' }
  properties: {
    source: lake.id
    topicType: 'Microsoft.Storage.StorageAccounts'
  }
}

resource arrivalNotices 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2022-06-15' = {
  parent: notices
  name: 'arrivals'
  dependsOn: [noticesToArrivals, noticesUndelivered]
  properties: {
    eventDeliverySchema: 'EventGridSchema'
    deliveryWithResourceIdentity: {
      identity: { type: 'SystemAssigned' }
      destination: {
        endpointType: 'StorageQueue'
        properties: { resourceId: host.id, queueName: arrivals.name, queueMessageTimeToLiveInSeconds: 604800 }
      }
    }
    deadLetterWithResourceIdentity: {
      identity: { type: 'SystemAssigned' }
      deadLetterDestination: {
        endpointType: 'StorageBlob'
        properties: { resourceId: host.id, blobContainerName: undelivered.name }
      }
    }
    filter: {
      includedEventTypes: ['Microsoft.Storage.BlobCreated', 'Microsoft.Storage.BlobRenamed']
      subjectBeginsWith: '/blobServices/default/containers/landing/blobs/'
    }
    retryPolicy: { maxDeliveryAttempts: 30, eventTimeToLiveInMinutes: 1440 }
  }
}

resource commitNotices 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2022-06-15' = {
  parent: notices
  name: 'commits'
  dependsOn: [noticesToCommits, noticesUndelivered]
  properties: {
    eventDeliverySchema: 'EventGridSchema'
    deliveryWithResourceIdentity: {
      identity: { type: 'SystemAssigned' }
      destination: {
        endpointType: 'StorageQueue'
        properties: { resourceId: host.id, queueName: commits.name, queueMessageTimeToLiveInSeconds: 604800 }
      }
    }
    deadLetterWithResourceIdentity: {
      identity: { type: 'SystemAssigned' }
      deadLetterDestination: {
        endpointType: 'StorageBlob'
        properties: { resourceId: host.id, blobContainerName: undelivered.name }
      }
    }
    filter: {
      includedEventTypes: ['Microsoft.Storage.BlobCreated', 'Microsoft.Storage.BlobRenamed']
      subjectBeginsWith: '/blobServices/default/containers/lake/blobs/'
      subjectEndsWith: '.json'
      advancedFilters: [
        { operatorType: 'StringContains', key: 'subject', values: ['/_delta_log/'] }
      ]
    }
    retryPolicy: { maxDeliveryAttempts: 30, eventTimeToLiveInMinutes: 1440 }
  }
}

// --- What works

resource plan 'Microsoft.Web/serverfarms@2024-04-01' = {
  name: '${name}-plan'
  location: location
  kind: 'functionapp'
  sku: { name: 'FC1', tier: 'FlexConsumption' }
  properties: { reserved: true }
}

resource app 'Microsoft.Web/sites@2024-04-01' = {
  name: '${name}-functions-${suffix}'
  location: location
  kind: 'functionapp,linux'
  identity: { type: 'SystemAssigned' }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    clientCertEnabled: true
    publicNetworkAccess: 'Enabled'
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      ftpsState: 'Disabled'
      http20Enabled: true
      appSettings: concat(bindings, ownHubs, [
        { name: 'AzureWebJobsStorage__accountName', value: host.name }
        { name: 'AzureWebJobsStorage__credential', value: 'managedidentity' }
        { name: 'APPLICATIONINSIGHTS_CONNECTION_STRING', value: insights.properties.ConnectionString }
        { name: 'APPLICATIONINSIGHTS_AUTHENTICATION_STRING', value: 'Authorization=AAD' }
        { name: 'HEADWATER_EVENT_HUBS__fullyQualifiedNamespace', value: '${eventHubs.name}.servicebus.windows.net' }
        { name: 'HEADWATER_STORAGE', value: 'abfss://lake@${lake.name}.dfs.${environment().suffixes.storage}/' }
        { name: 'HEADWATER_ROOTS_LANDING', value: 'abfss://landing@${lake.name}.dfs.${environment().suffixes.storage}/' }
        { name: 'HEADWATER_GOLD_SCHEDULE', value: goldSchedule }
        { name: 'HEADWATER_SWEEP_SCHEDULE', value: sweepSchedule }
        { name: 'HEADWATER_COMPACT_SCHEDULE', value: compactSchedule }
        { name: 'HEADWATER_LOG', value: logLevel }
      ])
    }
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${host.properties.primaryEndpoints.blob}${deployments.name}'
          authentication: { type: 'SystemAssignedIdentity' }
        }
      }
      scaleAndConcurrency: { maximumInstanceCount: maximumInstances, instanceMemoryMB: instanceMemory }
      runtime: { name: 'custom', version: '1.0' }
    }
  }
}

// Nobody publishes by a password.
resource publishing 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-04-01' = [
  for kind in ['ftp', 'scm']: {
    parent: app
    name: kind
    properties: { allow: false }
  }
]

// --- Who may do what. One identity runs all functions of the app.

resource appOnTables 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: tables
  name: guid(tables.id, app.id, roles.blobDataContributor)
  properties: {
    principalId: app.identity.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.blobDataContributor)
  }
}

resource appOnLanding 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: landing
  name: guid(landing.id, app.id, roles.blobDataReader)
  properties: {
    principalId: app.identity.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.blobDataReader)
  }
}

// Event Hubs Capture writes as its namespace.
resource hubsOnLanding 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (capture) {
  scope: landing
  name: guid(landing.id, eventHubs.id, roles.blobDataContributor)
  properties: {
    principalId: eventHubs.identity.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.blobDataContributor)
  }
}

// What the Functions host needs of its own account: code, locks and checkpoints.
resource appOnHostBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: host
  name: guid(host.id, app.id, roles.blobDataOwner)
  properties: {
    principalId: app.identity.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.blobDataOwner)
  }
}

// The host makes the queues of poison messages.
resource appOnHostQueues 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: host
  name: guid(host.id, app.id, roles.queueDataContributor)
  properties: {
    principalId: app.identity.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.queueDataContributor)
  }
}

resource appOnHubs 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for (source, index) in sourceNames: {
    scope: hubs[index]
    name: guid(hubs[index].id, app.id, roles.eventHubsDataReceiver)
    properties: {
      principalId: app.identity.principalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.eventHubsDataReceiver)
    }
  }
]

resource appOnInsights 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: insights
  name: guid(insights.id, app.id, roles.monitoringMetricsPublisher)
  properties: {
    principalId: app.identity.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.monitoringMetricsPublisher)
  }
}

resource noticesToArrivals 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: arrivals
  name: guid(arrivals.id, notices.id, roles.queueDataMessageSender)
  properties: {
    principalId: notices.identity.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.queueDataMessageSender)
  }
}

resource noticesToCommits 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: commits
  name: guid(commits.id, notices.id, roles.queueDataMessageSender)
  properties: {
    principalId: notices.identity.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.queueDataMessageSender)
  }
}

resource noticesUndelivered 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: undelivered
  name: guid(undelivered.id, notices.id, roles.blobDataContributor)
  properties: {
    principalId: notices.identity.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.blobDataContributor)
  }
}

// --- What watches

resource workspace 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: '${name}-logs'
  location: location
  properties: {
    sku: { name: 'PerGB2018' }
    retentionInDays: logRetentionDays
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: '${name}-insights'
  location: location
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    DisableLocalAuth: true
  }
}

module alarms 'alarms.bicep' = {
  name: '${name}-alarms'
  params: {
    name: name
    location: location
    insightsId: insights.id
    eventHubsId: eventHubs.id
    alarmEmail: alarmEmail
  }
}

output lakeUrl string = 'abfss://lake@${lake.name}.dfs.${environment().suffixes.storage}/'
output landingUrl string = 'abfss://landing@${lake.name}.dfs.${environment().suffixes.storage}/'
output functionApp string = app.name
output eventHubNamespace string = '${eventHubs.name}.servicebus.windows.net'
