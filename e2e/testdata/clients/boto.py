"""What people do with boto3, with another endpoint: boto.py ARCHIVE OTHER-ARCHIVE"""

import base64
import json
import sys

import boto3


def said(reply):
    assert "FunctionError" not in reply, reply
    return json.load(reply["Payload"])["says"]


def main(archive, other):
    c = boto3.client("lambda")
    made = c.create_function(
        FunctionName="boto", Runtime="python3.13", Handler="main.handler", Role="arn:aws:iam::123456789012:role/x", Code={"ZipFile": archive}, Timeout=15, MemorySize=256
    )
    assert made["State"] == "Pending", made
    c.get_waiter("function_active_v2").wait(FunctionName="boto")
    reply = c.invoke(FunctionName=made["FunctionArn"], Payload=json.dumps({"name": "Ada"}), LogType="Tail")
    assert "greeting Ada" in base64.b64decode(reply["LogResult"]).decode(), reply
    assert said(reply) == "hello Ada"
    reply = c.invoke(FunctionName="boto", Payload=b'{"fail": true}')
    assert reply["FunctionError"] == "Unhandled" and json.load(reply["Payload"])["errorType"] == "ValueError", reply
    assert c.invoke(FunctionName="boto", InvocationType="Event", Payload=b"{}")["StatusCode"] == 202
    assert c.invoke(FunctionName="boto", InvocationType="DryRun")["StatusCode"] == 204
    version = c.publish_version(FunctionName="boto")["Version"]
    assert version == "1", version
    c.create_alias(FunctionName="boto", Name="live", FunctionVersion=version)

    c.update_function_code(FunctionName="boto", ZipFile=other)
    c.get_waiter("function_updated_v2").wait(FunctionName="boto")
    assert said(c.invoke(FunctionName="boto", Payload=b'{"name": "Bob"}')) == "bye Bob"
    assert said(c.invoke(FunctionName="boto", Qualifier="live", Payload=b'{"name": "Bob"}')) == "hello Bob"
    c.update_alias(FunctionName="boto", Name="live", RoutingConfig={"AdditionalVersionWeights": {"2": 1.0}})
    assert said(c.invoke(FunctionName="boto:live", Payload=b'{"name": "Bob"}')) == "bye Bob"
    versions = [v["Version"] for page in c.get_paginator("list_versions_by_function").paginate(FunctionName="boto", PaginationConfig={"PageSize": 1}) for v in page["Versions"]]
    assert versions == ["$LATEST", "1", "2"], versions
    assert "boto" in [f["FunctionName"] for page in c.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 1}) for f in page["Functions"]]

    c.delete_function(FunctionName="boto")
    try:
        c.get_function(FunctionName="boto")
        raise AssertionError("it is still there")
    except c.exceptions.ResourceNotFoundException as e:
        assert e.response["ResponseMetadata"]["HTTPStatusCode"] == 404


with open(sys.argv[1], "rb") as one, open(sys.argv[2], "rb") as two:
    main(one.read(), two.read())
print("done")
