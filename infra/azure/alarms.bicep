// What watches Headwater on Azure: rules on what the functions log and on the event hubs, and who is told.

@description('What all names begin with.')
param name string

@description('Where the rules are.')
param location string

@description('The Application Insights of the functions.')
param insightsId string

@description('The namespace of event hubs.')
param eventHubsId string

@description('Who is told; empty for nobody.')
param alarmEmail string

resource told 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(alarmEmail)) {
  name: '${name}-told'
  location: 'global'
  properties: {
    groupShortName: name
    enabled: true
    emailReceivers: [{ name: 'alarms', emailAddress: alarmEmail, useCommonAlertSchema: true }]
  }
}

var alarms = [
  {
    name: 'failures'
    says: 'Invocations fail again and again.'
    query: 'requests | where success == false'
    operator: 'GreaterThan'
    threshold: 4
  }
  {
    name: 'poison'
    says: 'A notice failed five times and lies in a queue of poison messages.'
    query: 'traces | where message has "poison queue"'
    operator: 'GreaterThan'
    threshold: 0
  }
  {
    name: 'stale-views'
    says: 'Views were not brought up to date for a quarter of an hour.'
    query: 'requests | where name == "gold" and success == true'
    operator: 'LessThan'
    threshold: 1
  }
  {
    name: 'silent-app'
    says: 'No function ran at all, though timers should have woken some.'
    query: 'requests'
    operator: 'LessThan'
    threshold: 1
  }
]

resource alarm 'Microsoft.Insights/scheduledQueryRules@2022-06-15' = [
  for watched in alarms: {
    name: '${name}-${watched.name}'
    location: location
    properties: {
      displayName: '${name}: ${watched.name}'
      description: watched.says
      severity: 2
      enabled: true
      scopes: [insightsId]
      evaluationFrequency: 'PT5M'
      windowSize: 'PT15M'
      criteria: {
        allOf: [
          { query: watched.query, timeAggregation: 'Count', operator: watched.operator, threshold: watched.threshold }
        ]
      }
      actions: { actionGroups: empty(alarmEmail) ? [] : [told.id] }
    }
  }
]

resource throttled 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: '${name}-throttled'
  location: 'global'
  properties: {
    description: 'The event hub turns senders or readers away: raise throughputUnits.'
    severity: 2
    enabled: true
    scopes: [eventHubsId]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT5M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: 'throttled'
          metricName: 'ThrottledRequests'
          operator: 'GreaterThan'
          threshold: 0
          timeAggregation: 'Total'
        }
      ]
    }
    actions: empty(alarmEmail) ? [] : [{ actionGroupId: told.id }]
  }
}
