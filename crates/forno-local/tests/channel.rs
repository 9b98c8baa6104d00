//! Sessions to the ports of stub machines, driven by a client that shares nothing
//! with the endpoint: boto3 for the calls, and Python for what the websocket
//! carries.

mod python;
#[path = "python/rig.rs"]
mod rig;

use std::time::Duration;

use forno_local::{Calls, ChannelFault, Direction, Fault, FaultPlan, Pace};
use rig::Rig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// What every script begins with, besides the rig's own.
const CHANNELS: &str = r"
import hashlib, json, os, random
import channel
from channel import Channel, connect, farewell, signed

ssm = client('ssm')

def machine():
    made = launch()
    until(lambda: state(made), 'running')
    return made

def session(target, port=22, **more):
    return ssm.start_session(Target=target, DocumentName='AWS-StartSSHSession',
                             Parameters={'portNumber': [str(port)]}, **more)

def online(target, port=22):
    # Its agent is there some time after the machine.
    for _ in range(600):
        try:
            return session(target, port)
        except ClientError as error:
            if error.response['Error']['Code'] != 'TargetNotConnected':
                raise
            time.sleep(0.1)

def status(of, among='Active'):
    found = ssm.describe_sessions(State=among, Filters=[{'key': 'SessionId', 'value': of}])['Sessions']
    return [one['Status'] for one in found]
";

async fn ask(rig: &Rig, script: &str) -> String {
    rig.ask(&format!("{CHANNELS}\n{script}")).await
}

/// A port of this computer, which is one of every stub, that says everything
/// again; and how many connections it has had.
async fn echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    // The end of a text is the end of the connection.
                    if stream.write_all(&buffer[..count]).await.is_err()
                        || buffer[..count].ends_with(b"bye")
                    {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_reaches_the_ssh_server_and_has_a_life() {
    let rig = Rig::start([]).await;
    let said = ask(
        &rig,
        r"
print(code(session, 'i-0123456789abcdef0'), code(session, 'mi-1'))
target = machine()
first = online(target)
print(status(first['SessionId']))
shell = Channel(ssm, first)
shell.open().until(lambda: len(shell.data) > 8)
print(bytes(shell.data[:8]), shell.greeting['AgentVersion'], shell.words)
print(shell.greeting['RequestedClientActions'])
print(status(first['SessionId']))
[one] = ssm.describe_sessions(State='Active')['Sessions']
print(one['Target'] == target, one['DocumentName'], one['Owner'])

# A port on which nothing listens.
refused = Channel(ssm, session(target, 1, Reason='to see it fail'))
refused.until(lambda: refused.closed)
print(refused.flags, refused.closed['Output'], status(refused.session, 'History'))

# Ended by the call.
ssm.terminate_session(SessionId=first['SessionId'])
shell.until(lambda: shell.closed)
print(shell.closed['Output'] == '', status(first['SessionId']), status(first['SessionId'], 'History'))
print('TokenValue' in ssm.resume_session(SessionId=first['SessionId']))

# Ended by either flag, by the server, and with the machine.
for flag in (channel.DISCONNECT, channel.TERMINATE):
    one = Channel(ssm, session(target)).open()
    one.flag(flag)
    one.until(lambda: one.closed)
bad = Channel(ssm, session(target)).open()
bad.write(b'no banner at all\r\n' * 1000)
bad.until(lambda: bad.closed)
last = Channel(ssm, session(target)).open()
ec2.reboot_instances(InstanceIds=[target])
last.until(lambda: last.closed)
print(last.closed['Output'], status(last.session, 'History'))
ec2.terminate_instances(InstanceIds=[target])
until(lambda: state(target), 'terminated')
print(code(session, target))
print(len(ssm.describe_sessions(State='History')['Sessions']), len(ssm.describe_sessions(State='Active')['Sessions']))
",
    )
    .await;
    let opened = rig.calls("OpenDataChannel").len();
    assert_eq!(opened, 6);
    insta::assert_snapshot!(said);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_without_a_port_is_a_terminal() {
    let rig = Rig::start([]).await;
    let said = ask(
        &rig,
        r#"
target = machine()
online(target)

# A shell, as of an account without preferences of its own.
shell = Channel(ssm, ssm.start_session(Target=target)).open()
print(shell.greeting['RequestedClientActions'])
shell.send(channel.SIZE, b'{"cols":91,"rows":37}')
shell.write(b'stty size; echo at-$((40 + 2)); tty\n')
shell.until(lambda: b'/dev/pts/' in shell.data)
print(b'37 91\r\n' in shell.data, b'at-42\r\n' in shell.data)
shell.send(channel.SIZE, b'{"cols":100,"rows":40}')
shell.send(channel.SIZE, b'no size')
shell.write(b'stty size\n')
shell.until(lambda: b'40 100\r\n' in shell.data)
# Ctrl-C reaches what runs in it, once it says so.
shell.write(b'sh -c "echo runs-\\$((40 + 2)); exec sleep 600"\n')
shell.until(lambda: b'runs-42\r\n' in shell.data)
shell.write(b'\x03')
shell.write(b'echo then-$((1 + 1)); exit\n')
shell.until(lambda: shell.closed)
print(b'then-2\r\n' in shell.data, repr(shell.closed['Output']), status(shell.session, 'History'))

# One command.
command = ssm.start_session(Target=target, DocumentName='AWS-StartInteractiveCommand',
                            Parameters={'command': ['echo said; echo $$ >pid; exec sleep 600']})
command = Channel(ssm, command).open()
print(command.greeting['RequestedClientActions'][0]['ActionParameters']['SessionType'])
command.until(lambda: b'said\r\n' in command.data)
# With its session it is over.
ssm.terminate_session(SessionId=command.session)
command.until(lambda: command.closed)
print(status(command.session, 'History'))
"#,
    )
    .await;
    insta::assert_snapshot!(said);
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_has_a_token_is_let_in_and_only_once() {
    let rig = Rig::with(FaultPlan {
        faults: vec![
            Fault::of("ssmmessages:OpenDataChannel")
                .calls([6])
                .error("AccessDeniedException"),
        ],
        ..FaultPlan::default()
    })
    .await;
    let said = ask(
        &rig,
        r"
import websocket
target = machine()
first = online(target)
url, token, id = first['StreamUrl'], first['TokenValue'], first['SessionId']
def status_of(url, headers):
    try:
        connect(url, None, headers)
    except websocket.WebSocketBadStatusException as error:
        return error.status_code
print('unsigned', status_of(url, {}))
print('other service', status_of(url, signed(url, service='ssm')))
print('other key', status_of(url, signed(url, secret='x' * 40)))
print('no token', farewell(connect(url, '')))
print('wrong token', farewell(connect(url, token.swapcase())))
print('binary first', end=' ')
socket = connect(url, None)
socket.send_binary(b'x')
print(farewell(socket))
socket = connect(url.replace(id, 'forno-00000000000000000'), token)
print('no session', farewell(socket))
good = connect(url, token)
print('right token', channel.Message.decode(good.recv()).kind)
print('denied', status_of(url, signed(url)))
print('used token', farewell(connect(url, token)))
again = ssm.resume_session(SessionId=id)
print(again['TokenValue'] != token, again['StreamUrl'] == url)
better = connect(url, again['TokenValue'])
print('the old one', farewell(good))
print('the new one', channel.Message.decode(better.recv()).kind, status(id))
better.close()
until(lambda: status(id), ['Disconnected'])
print(code(ssm.resume_session, SessionId='forno-00000000000000000'))

# What cannot be asked for.
def refused(**more):
    request = {'Target': target, 'DocumentName': 'AWS-StartSSHSession'} | more
    return code(client('ssm', check=False).start_session, **request)
print(refused(DocumentName='AWS-StartPortForwardingSession'), refused(DocumentName='Mine'), refused(Reason='x' * 257),
      refused(Parameters={'portNumber': ['ssh']}), refused(Parameters={'host': ['x']}), refused(Target='i-1'))
print(refused(DocumentName='AWS-StartInteractiveCommand'), refused(DocumentName='AWS-StartInteractiveCommand', Parameters={'command': []}),
      refused(DocumentName='SSM-SessionManagerRunShell', Parameters={'command': ['ls']}))
session(target)
pages, page = [], {}
while True:
    page = ssm.describe_sessions(State='Active', MaxResults=1, **({'NextToken': page['NextToken']} if page else {}))
    pages.append(len(page['Sessions']))
    if 'NextToken' not in page:
        break
print(pages)
",
    )
    .await;
    insta::assert_snapshot!(said);
    rig.end().await;
}

/// Bytes both ways, through every kind of loss and several connections.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_on_a_bad_line() {
    let noisy = |direction, seed| ChannelFault {
        calls: Calls::Range(1, None),
        direction: Some(direction),
        drop: 10,
        duplicate: 20,
        reorder: 20,
        seed,
        ..ChannelFault::default()
    };
    let closing = |close_after_messages, close_after_bytes, number| ChannelFault {
        calls: Calls::These([number].into()),
        close_after_messages,
        close_after_bytes,
        ..ChannelFault::default()
    };
    let rig = Rig::with(FaultPlan {
        channels: vec![
            noisy(Direction::ToAgent, 1),
            noisy(Direction::ToClient, 2),
            closing(Some(50), None, 1),
            closing(None, Some(200_000), 2),
        ],
        ..FaultPlan::default()
    })
    .await;
    let port = echo().await;
    let said = ask(
        &rig,
        &format!(
            r"
line = Channel(ssm, online(machine(), {port})).open()
sent = random.Random(7).randbytes(400_000) + b'bye'
line.write(sent)
line.until(lambda: line.closed)
print(hashlib.sha256(line.data).digest() == hashlib.sha256(sent).digest(), line.resumes, line.closes[:2], line.resent > 0)
print(status(line.session, 'History'), line.most <= channel.WINDOW)
"
        ),
    )
    .await;
    assert_eq!(
        said,
        "True 2 [(1000, 'Bye'), (1000, 'Bye')] True\n['Terminated'] True"
    );
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_closes_halts_and_forgets_in_its_own_time() {
    let pace = Pace {
        session_idle: Duration::from_secs(3),
        channel_close: Duration::from_secs(2),
        agent_read: Duration::from_millis(1),
        ..Pace::INSTANT
    };
    let pause = ChannelFault {
        pause: Duration::from_millis(700),
        after: Duration::from_millis(300),
        ..ChannelFault::default()
    };
    let stall = ChannelFault {
        calls: Calls::These([3].into()),
        stall: Duration::from_millis(900),
        ..ChannelFault::default()
    };
    let plan = FaultPlan {
        channels: vec![pause, stall],
        ..FaultPlan::default()
    };
    let rig = Rig::paced(pace, plan).await;
    let port = echo().await;
    let said = ask(
        &rig,
        &format!(
            r"
target = machine()
line = Channel(ssm, online(target, {port})).open()
line.until(lambda: line.resumes == 1)
print(line.closes, line.words)
line.write(b'x' * 5000)
sizes = []
line.handle, handle = lambda message: (sizes.append(len(message.payload)), handle(message)), line.handle
line.read(5000)
print(max(sizes))

# Nothing passes for a while, and then everything.
stalled = Channel(ssm, session(target, {port}))
began = time.monotonic()
stalled.open()
print(time.monotonic() - began > 0.8, stalled.words)

# The first one is left alone until it is forgotten.
line.socket.close()
until(lambda: status(line.session), [])
print(status(line.session, 'History'), 'TokenValue' in ssm.resume_session(SessionId=line.session))
"
        ),
    )
    .await;
    insta::assert_snapshot!(said);
    rig.end().await;
}
