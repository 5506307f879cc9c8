"""The host of Azure Functions on one machine, for apps whose functions are a custom handler.

It reads `host.json` and each `function.json`, starts the handler, and hands over messages of storage queues, events of hubs and
timers, encoded as the real host encodes them (`ScriptInvocationContextExtensions` of azure-functions-host). What fails comes again as
the host documents it. Beside it does what storage and Event Grid do: it tells queues of new blobs.
"""
