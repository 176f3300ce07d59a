"""AWS for tests: ministack, made stricter where bindery depends on what AWS does.

Listens on the address that its argument names, prints the port, and ends when its standard input is closed. Tests set
faults while it runs: a POST to /_ground with a JSON object of the names in FAULTS; a GET of /_ground answers the calls
received so far, and whether one hangs. The launcher replaces functions of ministack 1.5.33 by name, so the version is pinned with its hashes in
requirements.txt.
"""

import asyncio
import contextvars
import itertools
import json
import logging
import os
import socket
import ssl
import sys
import threading
import time
import uuid
from base64 import b64encode
from urllib.parse import parse_qs
from urllib.request import Request, urlopen

HOST = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1"
LISTENER = socket.create_server((HOST, 0))
PORT = LISTENER.getsockname()[1]
# ministack reads these while it is imported.
os.environ |= {"AUTH": "true", "GATEWAY_PORT": str(PORT), "MINISTACK_HOST": HOST, "MINISTACK_ACCOUNT_ID": "123456789012"}

import hypercorn.asyncio
import hypercorn.config
import ministack.app as gateway
import ministack.core.iam_evaluator as evaluator
import ministack.services.cloudformation.changesets as changesets
import ministack.services.cloudformation.handlers as handlers
import ministack.services.cloudformation.provisioners as provisioners
import ministack.services.cloudformation.stacks as stacks
import ministack.services.iam as iam
import ministack.services.s3 as s3
import ministack.services.secretsmanager as secretsmanager
import ministack.services.sns as sns

FAULTS = {
    "delay": 0,  # seconds that each resource of a stack takes
    "key_lag": 0,  # seconds until an access key or role that is created now is known
    "throttle": 0,  # every Nth call of CloudFormation and IAM is refused with Throttling
    "unavailable": 0,  # this many next calls answer 503
    "fail_creations": 0,  # this many next creations of resources fail
    "fail_updates": 0,  # this many next updates of resources fail
    "message_broker": None,  # management URL, AMQP URL, user and password of the RabbitMQ that stands in for Amazon MQ
    "databases": {},  # engine -> host, port, user and password of the server that stands in for Amazon RDS
    "hang_at": 0,  # the call with this number, and all later ones, get no answer
    "hang_after_work": False,  # whether the call that hangs has had its effect
}
CALLS = []
HANGING = asyncio.Event()  # set while the call `hang_at` hangs
COUNT = itertools.count(1)
KNOWN_AT = {}  # access key, user or role name -> when all of AWS knows it
DEPLOY_ROLES = {}  # stack name -> role ARN


# 1. The deploy role: it must exist, the caller must be allowed to pass it, and its policies limit the stack.

ACTIONS = {
    "AWS::SQS::Queue": ("sqs:CreateQueue", "sqs:DeleteQueue", "arn:aws:sqs:{region}:{account}:{name}"),
    "AWS::SNS::Topic": ("sns:CreateTopic", "sns:DeleteTopic", "arn:aws:sns:{region}:{account}:{name}"),
    "AWS::S3::Bucket": ("s3:CreateBucket", "s3:DeleteBucket", "arn:aws:s3:::{name}"),
    "AWS::DynamoDB::Table": ("dynamodb:CreateTable", "dynamodb:DeleteTable", "arn:aws:dynamodb:{region}:{account}:table/{name}"),
    "AWS::Kinesis::Stream": ("kinesis:CreateStream", "kinesis:DeleteStream", "arn:aws:kinesis:{region}:{account}:stream/{name}"),
    "AWS::Athena::WorkGroup": ("athena:CreateWorkGroup", "athena:DeleteWorkGroup", "arn:aws:athena:{region}:{account}:workgroup/{name}"),
    "AWS::RDS::DBInstance": ("rds:CreateDBInstance", "rds:DeleteDBInstance", "arn:aws:rds:{region}:{account}:db:awsservicebroker-{name}"),
    "AWS::RDS::DBCluster": ("rds:CreateDBCluster", "rds:DeleteDBCluster", "arn:aws:rds:{region}:{account}:cluster:awsservicebroker-{name}"),
    "AWS::AmazonMQ::Broker": ("mq:CreateBroker", "mq:DeleteBroker", "arn:aws:mq:{region}:{account}:broker:{name}"),
    "AWS::SecretsManager::Secret": ("secretsmanager:CreateSecret", "secretsmanager:DeleteSecret", "arn:aws:secretsmanager:{region}:{account}:secret:{name}-a1b2c3"),
    "AWS::IAM::User": ("iam:CreateUser", "iam:DeleteUser", "arn:aws:iam::{account}:user/{name}"),
}


def check_deploy_role(resource_type, stack, name, is_delete):
    role = DEPLOY_ROLES.get(stack)
    if role is None or resource_type not in ACTIONS:
        return
    create, delete, arn = ACTIONS[resource_type]
    account, region = role.split(":")[4], "us-east-1"
    name = name.lower() if resource_type == "AWS::S3::Bucket" else name
    if resource_type == "AWS::Kinesis::Stream":
        # ministack writes the name in lower case, AWS does not.
        name = name.replace("awsservicebroker", "AWSServiceBroker")
    action = delete if is_delete else create
    arn = arn.format(region=region, account=account, name=name.rsplit("/")[-1].rsplit(":")[-1])
    role_name = role.rsplit("/")[-1]
    caller = f"arn:aws:sts::{account}:assumed-role/{role_name}/AWSCloudFormation"
    # CloudFormation tags what it creates with the tags of the stack.
    tags = {} if is_delete else {tag["Key"]: tag["Value"] for tag in handlers._resolve_stack(stack).get("Tags", [])}
    context = evaluator.EvalContext(caller, "AssumedRole", account, action, arn, region, request_tags=tags)
    if evaluator.evaluate(context, evaluator._gather_role_policies(role_name, account)).decision != "Allow":
        raise ValueError(
            f"User: {caller} is not authorized to perform: {action} on resource: {arn} because no identity-based policy "
            f"allows the {action} action (Service: {resource_type.split('::')[1]}, Status Code: 403, Request ID: ground)"
        )


# A database is a server of the tests, and its master user's password is in Secrets Manager alone.

DATABASES = {"AWS::RDS::DBInstance": "db", "AWS::RDS::DBCluster": "cluster"}


def with_database(resource_type, properties, made):
    name, attributes = made
    kind = DATABASES.get(resource_type)
    server = FAULTS["databases"].get(properties.get("Engine"))
    if not kind or not server or properties.get("DBClusterIdentifier") and kind == "db":
        return made
    assert properties["ManageMasterUserPassword"] and "MasterUserPassword" not in properties
    tag = "aws:rds:primaryDBInstanceArn" if kind == "db" else "aws:rds:primaryDBClusterArn"
    arn = attributes.get("DBInstanceArn") or attributes["DBClusterArn"]
    content = json.dumps({"username": server["user"], "password": server["password"]})
    secret, _ = secretsmanager._store_new_secret(f"rds!{kind}-{name}", content, tags=[{"Key": tag, "Value": arn}])
    address = {"Endpoint.Address": server["host"], "Endpoint.Port": str(server["port"]), "ReadEndpoint.Address": server["host"]}
    return name, attributes | address | {"MasterUserSecret.SecretArn": secret}


# ministack has no message brokers in stacks. The master user is created on the server of the tests, as Amazon MQ would.
BROKERS = {}  # id -> attributes


def create_broker(logical_id, properties, stack):
    user = properties["Users"][0]
    password = user["Password"]
    if not 12 <= len(password) <= 250 or len(set(password)) < 4 or any(letter in ",:=" for letter in password):
        raise ValueError("The password must have 12 to 250 characters without ',', ':' and '=' (Service: AmazonMQ, Status Code: 400, Request ID: ground)")
    if len(properties["BrokerName"]) > 50 or properties["EngineType"] != "RABBITMQ":
        raise ValueError("Invalid broker (Service: AmazonMQ, Status Code: 400, Request ID: ground)")
    is_public = properties["PubliclyAccessible"] in (True, "true")
    if is_public and properties.get("SecurityGroups"):
        raise ValueError("Public RabbitMQ brokers have no security groups (Service: AmazonMQ, Status Code: 400, Request ID: ground)")
    server = FAULTS["message_broker"]
    body = json.dumps({"password": password, "tags": "administrator"}).encode()
    login = b64encode(f"{server['user']}:{server['password']}".encode()).decode()
    headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
    request = Request(f"{server['management']}/api/users/{user['Username']}", body, headers, method="PUT")
    urlopen(request, context=ssl._create_unverified_context()).close()
    broker_id = f"b-{uuid.uuid4()}"
    arn = f"arn:aws:mq:us-east-1:123456789012:broker:{properties['BrokerName']}:{broker_id}"
    BROKERS[broker_id] = {"Id": broker_id, "Arn": arn, "AmqpEndpoints": [server["amqp"]], "ConsoleURLs": [server["management"]]}
    return broker_id, BROKERS[broker_id]


provisioners._RESOURCE_HANDLERS["AWS::AmazonMQ::Broker"] = {
    "create": create_broker,
    "update": lambda physical_id, old, new, stack: (physical_id, BROKERS[physical_id]),
    "delete": lambda physical_id, properties: BROKERS.pop(physical_id, None),
}

provision_resource, delete_resource = stacks._provision_resource, stacks._delete_resource
update_resource = stacks._update_resource


# An imported resource keeps its name, although the template has none. ministack would give it another one.
NAMES = {"AWS::SQS::Queue": "QueueName", "AWS::SNS::Topic": "TopicName"}


def update(resource_type, physical_id, old, new, *more):
    time.sleep(FAULTS["delay"])
    name = NAMES.get(resource_type)
    if name and name not in old and name not in new:
        kept = {name: physical_id.replace(":", "/").rsplit("/")[-1]}
        old, new = old | kept, new | kept
    if FAULTS["fail_updates"] > 0:
        FAULTS["fail_updates"] -= 1
        raise ValueError("The update was told to fail (Service: Ground, Status Code: 400, Request ID: ground)")
    return update_resource(resource_type, physical_id, old, new, *more)


def name_of(resource_type, properties, otherwise):
    """The name that the template gives a resource whose ARN has it."""
    given = {"AWS::AmazonMQ::Broker": "BrokerName", "AWS::SecretsManager::Secret": "Name"}.get(resource_type)
    return properties.get(given) or otherwise


def provision(resource_type, logical_id, properties, stack):
    time.sleep(FAULTS["delay"])
    if FAULTS["fail_creations"] > 0:
        FAULTS["fail_creations"] -= 1
        raise ValueError("The creation was told to fail (Service: Ground, Status Code: 400, Request ID: ground)")
    check_deploy_role(resource_type, stack, name_of(resource_type, properties, f"{stack}-{logical_id}-GROUND"), False)
    if resource_type == "AWS::DynamoDB::Table":
        for index in properties.get("GlobalSecondaryIndexes", []):
            index["IndexStatus"] = "ACTIVE"
    return with_database(resource_type, properties, provision_resource(resource_type, logical_id, properties, stack))


def delete(resource_type, physical_id, properties, stack=None, logical_id=None):
    time.sleep(FAULTS["delay"])
    check_deploy_role(resource_type, stack, name_of(resource_type, properties, physical_id), True)
    if resource_type == "AWS::S3::Bucket" and s3._buckets.get(physical_id, {}).get("objects"):
        raise ValueError("The bucket you tried to delete is not empty (Service: S3, Status Code: 409, Request ID: ground)")
    if resource_type == "AWS::KMS::Key":
        # A parameter is text, which ministack does not expect here.
        properties = properties | {"PendingWindowInDays": int(properties.get("PendingWindowInDays", 30))}
    if resource_type in DATABASES:
        secretsmanager._secrets.pop(f"rds!{DATABASES[resource_type]}-{physical_id}", None)
    return delete_resource(resource_type, physical_id, properties, stack, logical_id)


stacks._provision_resource, stacks._delete_resource, stacks._update_resource = provision, delete, update
# A resource that takes time must not block the server.
stacks._runs_on_worker_thread = lambda resource_type: True

create_stack = handlers._ACTION_HANDLERS["CreateStack"]
LIVE = ("CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED")


def strict_create_stack(params):
    name, role = handlers._p(params, "StackName"), handlers._p(params, "RoleARN")
    if role:
        key = CALLER.get()
        passed_to = {"iam:PassedToService": "cloudformation.amazonaws.com"}
        denied = evaluator.enforce(key, "iam:PassRole", "iam", "us-east-1", role, passed_to)
        if denied is not None:
            caller = getattr(denied, "principal_arn", "") or "the caller"
            message = f"User: {caller} is not authorized to perform: iam:PassRole on resource: {role} because no identity-based policy allows the iam:PassRole action"
            return handlers._error("AccessDenied", message, 403)
        if role.rsplit("/")[-1] not in iam._roles:
            return handlers._error("ValidationError", f"Role {role} is invalid or cannot be assumed")
    existing = handlers._resolve_stack(name)
    if existing and existing.get("StackStatus") in LIVE:
        return handlers._error("AlreadyExistsException", f"Stack [{name}] already exists")
    response = create_stack(params)
    if response[0] == 200:
        DEPLOY_ROLES.pop(name, None)
        if role:
            DEPLOY_ROLES[name] = role
    return response


handlers._ACTION_HANDLERS["CreateStack"] = strict_create_stack

# The events of a stack go to its topics, and a description of the stack names them.

TOPICS = {}  # stack name -> the ARNs of the topics
add_event, describe_stacks = stacks._add_event, handlers._ACTION_HANDLERS["DescribeStacks"]


def publishing_event(stack_id, stack_name, logical_id, resource_type, status, reason="", physical_id="", *more, **named):
    add_event(stack_id, stack_name, logical_id, resource_type, status, reason, physical_id, *more, **named)
    facts = {
        "StackId": stack_id,
        "LogicalResourceId": logical_id,
        "PhysicalResourceId": physical_id,
        "ResourceProperties": "null",
        "ResourceStatus": status,
        "ResourceStatusReason": reason,
        "ResourceType": resource_type,
        "StackName": stack_name,
        "ClientRequestToken": "null",
    }
    for topic in TOPICS.get(stack_name, []):
        sns.publish_internal(topic, "".join(f"{name}='{value}'\n" for name, value in facts.items()), "AWS CloudFormation Notification")


def with_topics(handler):
    def noting(params):
        topics = handlers._extract_string_members(params, "NotificationARNs")
        if topics or "NotificationARNs" in params:
            TOPICS[handlers._p(params, "StackName")] = [topic for topic in topics if topic]
        return handler(params)

    return noting


def describe_with_topics(params):
    status, headers, body = describe_stacks(params)
    for stack, topics in TOPICS.items():
        members = "".join(f"<member>{topic}</member>" for topic in topics)
        name = f"<StackName>{stack}</StackName>".encode()
        body = body.replace(name, name + f"<NotificationARNs>{members}</NotificationARNs>".encode())
    return status, headers, body


for action in ("CreateStack", "UpdateStack", "CreateChangeSet"):
    handlers._ACTION_HANDLERS[action] = with_topics(handlers._ACTION_HANDLERS[action])
handlers._ACTION_HANDLERS["DescribeStacks"] = describe_with_topics

# 2. Limits of IAM that ministack does not have.

create_access_key, create_user, create_role = iam._create_access_key, iam._create_user, iam._create_role


def strict_create_access_key(params):
    user = iam._p(params, "UserName")
    if sum(key["UserName"] == user for key in iam._access_keys.values()) >= 2:
        return iam._error(409, "LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: 2", ns="iam")
    before = set(iam._access_keys)
    response = create_access_key(params)
    for key in set(iam._access_keys) - before:
        KNOWN_AT[key] = time.monotonic() + FAULTS["key_lag"]
    return response


def limited_name(create, parameter):
    def checked(params):
        name = iam._p(params, parameter)
        if len(name) > 64:
            message = f"1 validation error detected: Value at '{parameter}' failed to satisfy constraint: Member must have length less than or equal to 64"
            return iam._error(400, "ValidationError", message, ns="iam")
        response = create(params)
        KNOWN_AT[name] = time.monotonic() + FAULTS["key_lag"]
        return response

    return checked


def replace_in(module, old, new):
    """Replaces a function under its name and in the tables of actions."""
    for name, value in list(vars(module).items()):
        if value is old:
            setattr(module, name, new)
        elif type(value) is dict:
            for key, entry in value.items():
                if entry is old:
                    value[key] = new


for module in (stacks, changesets, handlers):
    replace_in(module, add_event, publishing_event)
replace_in(iam, create_access_key, strict_create_access_key)
replace_in(iam, create_user, limited_name(create_user, "UserName"))
replace_in(iam, create_role, limited_name(create_role, "RoleName"))

# 3. The condition key aws:PrincipalArn of a session is the ARN of its role.

resolve_condition_key = evaluator._resolve_condition_key


def resolve_key(key, context):
    if key.lower() == "aws:principalarn" and context.principal_type == "AssumedRole":
        name = context.principal_arn.split("/")[1]
        role = iam._roles.get(name)
        return role["Arn"] if role else f"arn:aws:iam::{context.principal_account}:role/{name}"
    return resolve_condition_key(key, context)


evaluator._resolve_condition_key = resolve_key

# 4. Faults of every call, and their control.

CALLER = contextvars.ContextVar("caller", default="")
RELEASED = None


def error_body(code, message):
    return f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>ground</RequestId></ErrorResponse>".encode()


async def respond(send, status, body, headers=()):
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def read(receive):
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def control(scope, send, body):
    global RELEASED, COUNT
    if scope["method"] == "POST":
        wanted = json.loads(body)
        unknown = set(wanted) - set(FAULTS) - {"reset_calls"}
        assert not unknown, unknown
        if wanted.pop("reset_calls", False):
            CALLS.clear()
            COUNT = itertools.count(1)
        FAULTS.update(wanted)
        if "hang_at" in wanted:
            HANGING.clear()
        if not FAULTS["hang_at"]:
            RELEASED.set()
            RELEASED = asyncio.Event()
    answer = json.dumps({"calls": CALLS, "hanging": HANGING.is_set()})
    await respond(send, 200, answer.encode(), [(b"content-type", b"application/json")])


def refusal(service, key, body):
    """The error that a fault makes of a call, if any."""
    form = parse_qs(body.decode("utf-8", "replace"))
    role = form.get("RoleArn", [""])[0].rsplit("/")[-1]
    is_unknown = lambda name: time.monotonic() < KNOWN_AT.get(name, 0)
    if is_unknown(key):
        return 403, "InvalidClientTokenId", "The security token included in the request is invalid."
    if service == "sts" and is_unknown(role):
        return 403, "AccessDenied", f"User is not authorized to perform: sts:AssumeRole on resource: {form['RoleArn'][0]}"
    if FAULTS["unavailable"] > 0:
        FAULTS["unavailable"] -= 1
        return 503, "ServiceUnavailable", "Service is unavailable"
    if FAULTS["throttle"] and service in ("cloudformation", "iam") and len(CALLS) % FAULTS["throttle"] == 0:
        return 400, "Throttling", "Rate exceeded"
    return None


async def app(scope, receive, send):
    global RELEASED
    RELEASED = RELEASED or asyncio.Event()
    if scope["type"] != "http":
        await gateway_app(scope, receive, send)
        return
    body = await read(receive)
    if scope["path"] == "/_ground":
        await control(scope, send, body)
        return
    headers = dict(scope["headers"])
    credential = headers.get(b"authorization", b"").decode().partition("Credential=")[2].split(",")[0].split("/")
    key, service = credential[0], credential[3] if len(credential) > 3 else ""
    CALLER.set(key)
    target = headers.get(b"x-amz-target", b"").decode().rpartition(".")[2]
    action = target or parse_qs(body.decode("utf-8", "replace")).get("Action", [""])[0] or scope["method"]
    number = next(COUNT)
    CALLS.append(f"{service}:{action}")
    is_hung = FAULTS["hang_at"] and number >= FAULTS["hang_at"]
    if is_hung and not (FAULTS["hang_after_work"] and number == FAULTS["hang_at"]):
        await hang(number)
        return
    refused = refusal(service, key, body)
    if refused:
        status, code, message = refused
        await respond(send, status, error_body(code, message), [(b"content-type", b"text/xml"), (b"x-amzn-errortype", code.encode())])
        return

    async def replay():
        return {"type": "http.request", "body": body, "more_body": False}

    async def swallow(message):
        pass

    await gateway_app(scope, replay, swallow if is_hung else send)
    if is_hung:
        await hang(number)


async def hang(number):
    if number == FAULTS["hang_at"]:
        HANGING.set()
    await RELEASED.wait()


def end_with_caller():
    sys.stdin.read()
    os._exit(0)


gateway_app = gateway.app
if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    threading.Thread(target=end_with_caller, daemon=True).start()
    config = hypercorn.config.Config()
    config.bind = [f"fd://{LISTENER.fileno()}"]
    print(PORT, flush=True)
    asyncio.run(hypercorn.asyncio.serve(app, config))
