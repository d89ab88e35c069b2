"""Says what it was asked, once in the log and once in the reply."""


def handler(event, context):
    print("soak", event["nonce"])
    return {"nonce": event["nonce"], "function": context.function_name}
