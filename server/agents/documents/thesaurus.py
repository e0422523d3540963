"""Words of one meaning in technical text, as people ask and as documentation writes.

Each line is a group: a question that uses one of its words may be answered by a text that uses another. What is found
so counts less than the asked word itself. Words stand in groups by meaning; the same word may stand in several.
"""

from __future__ import annotations

from typing import Final

from .words import stem

_GROUPS: Final = """
    # to and fro
    send post submit transmit deliver dispatch push
    receive get accept incoming arrive
    fetch get request retrieve download pull load
    reply answer response respond result return
    call invoke request run execute
    forward pass relay proxy redirect
    moved redirect redirection follow location
    upload attach attachment multipart file submit
    download save attachment fetch
    feed stream events sse push
    live realtime stream push
    piece chunk part stream incremental bit
    stream streaming chunk incremental iterate generator yield
    wire network connection socket protocol transport
    network connection connectivity internet transport
    bidirectional duplex websocket
    open establish connect accept
    reach connect connection access
    unreachable connecterror connection refused
    intermediary proxy gateway middleman relay
    reverse proxy nginx
    balancer proxy forwarded nginx
    handshake negotiate negotiation tls
    multiplexed multiplexing http2 simultaneous concurrent

    # who and where
    user visitor customer client person people member caller visitors
    caller client peer requester
    people clients users connections
    browser cors client
    machine host server computer
    remote server host upstream
    computer host machine
    local localhost loopback 127
    address url uri link path host
    address ip host port
    url path route link endpoint
    link url anchor
    site website domain host origin
    domain origin host site
    cross origin cors domain
    endpoint route handler view
    handler endpoint view function callback
    view endpoint handler page
    page html template view document
    home directory
    directory folder path
    place location path

    # whether and how much
    disable deactivate off skip ignore suppress without none no
    ignore skip disable bypass
    enable activate allow support turn
    forbid deny refuse reject denial block prevent prohibit
    refuse reject deny denial close
    allow permit accept trust whitelist
    require demand need must mandatory force enforce
    force redirect require enforce
    limit restrict cap limitation bound maximum max
    maximum max limit most
    minimum min least
    unlimited infinite forever none ever
    several multiple many various
    simultaneous concurrent concurrency parallel
    busy concurrent concurrency occupied
    once single singleton
    shrink reduce compress compression gzip smaller minimize
    compress compression gzip encoding deflate brotli zstd
    raise increase grow
    fast performance speed quick efficient
    faster performance uvloop speed
    slow timeout performance latency
    big large huge size

    # making and changing
    create make build generate construct
    generate produce create
    build make create image
    remove delete unset clear discard drop
    change modify adjust alter override customize customise custom
    edit change modify modified
    replace substitute override swap switch instead
    customize customise custom own
    add append include register insert attach
    set assign define configure specify
    configure configuration config setting settings option customize
    option parameter argument flag setting
    default standard usual assumed fallback
    defaults configuration shared default common
    share reuse common
    keep store retain persist hold
    save store persist write keep
    store cache save database persist
    remember session store cache state persist
    combine merge
    copy duplicate
    convert transform cast parse
    read parse access load
    show display print render
    render template display
    describe document documentation schema description
    description schema documentation spec
    turn convert translate change

    # time
    start startup launch boot begin run initialize init
    before startup first prior
    stop shutdown close terminate end quit exit
    end shutdown close finish complete
    quit stop shutdown
    sigterm sigint signal shutdown terminate graceful
    gracefully graceful shutdown
    restart reload
    notice detect watch monitor
    watch monitor reload change
    edited changed modified
    automatic automatically auto itself
    wait timeout delay pause
    patient timeout wait
    hang timeout block stall
    silent idle timeout inactivity
    abandon abort cancel timeout
    cancel abort interrupt stop
    after once afterwards background later finished
    later deferred background afterwards
    deferred background delayed
    schedule cron periodic background
    background task job
    job task background worker
    retry retries attempt again repeat
    repeat retry retries again
    often frequently rate
    progress monitor percent

    # who may
    login authentication authenticate auth credentials password user username
    password credentials secret authentication
    secret key password token credentials
    prove authenticate authentication identity certificate
    identity user authentication
    sign signature signed auth authentication
    token bearer auth key
    authorization permission scope authorize
    permission scope privilege role right access authorization
    privilege permission scope role
    member user authenticated
    certificate cert ssl tls https verification
    verify check verification validate validation
    check verify verification validate
    untrusted unverified insecure verify
    trust verify trusted ca
    encrypt encrypted encryption ssl tls https secure
    secure https ssl tls security
    safe secure security
    attack csrf xss vulnerability security
    cookie session
    hide hidden conceal secret mask

    # what goes wrong
    error exception failure fail raise problem
    crash error exception fail traceback
    problem issue error trouble troubleshooting
    traceback stacktrace exception error
    catch handle except exception
    wrong error invalid
    missing notfound 404
    found 404
    gotcha difference caveat
    surprise difference incompatible compatibility unexpected
    differ difference compatibility
    migrate migration compatibility difference move switch upgrade
    fix solve resolve resolution troubleshooting
    failing fail error status

    # trying it
    test testing tests mock pytest
    fake mock test stub dummy
    canned mock fake fixed predefined
    pretend simulate mock fake
    example sample demo
    debug debugging log trace

    # saying it
    print log logging debug output
    log logging debug verbose logs
    console stdout terminal shell
    output print stdout log
    shell environment command terminal
    environment env variable
    variable env environment

    # text and files
    text string content
    encoding charset character decode
    charset character encoding alphabet
    letter character
    letters characters charset encoding alphabet
    gibberish garbled encoding decode charset
    guess detect autodetect detection infer
    alphabet characters charset
    mail email message letter
    letter mail email message
    body content payload data
    binary bytes raw
    number integer int float numeric
    form data fields multipart
    json serialize object
    image picture photo asset static
    picture image photo
    style css stylesheet
    css javascript static asset stylesheet
    static file asset
    html template jinja2 render
    placeholder variable template
    header metadata
    name filename title label
    search query
    query parameter search
    type annotation typing
    kind type class
    format schema syntax
    language locale
    schema openapi specification swagger
    schema openapi json
    definition schema specification
    specification spec protocol interface standard
    interface protocol specification api

    # parts and places
    library package module dependency
    package library dependency install
    add-on addon plugin extension package third
    plugin extension addon package third
    tool library package utility
    alternative replacement other instead third
    install installation pip setup
    version release upgrade
    callback hook event
    intercept middleware hook event
    hook event callback intercept middleware
    middleware layer wrapper
    wrap wrapper middleware
    layer middleware
    container docker image
    package container docker image bundle
    deploy deployment production
    production deployment
    process worker
    thread threadpool worker
    worker process thread
    blocking synchronous sync threadpool
    sync synchronous blocking
    async asynchronous await asyncio trio
    memory ram buffer
    buffer memory queue backpressure
    queue backlog waiting
    pool connections limits
    socket connection
    reuse keepalive pool persistent connection
    database sql orm db
    orm sqlalchemy database model
    order priority precedence
    precedence priority override wins order
    wins precedence priority
    reuse share pool
    class object
    function method callable
    group mount bundle collection
    shortcut helper toplevel convenience
    state data context
    feature capability support
    supported compatible support
    requirement dependency prerequisite
    prerequisite requirement dependency
    purpose reason why motivation
    overview introduction summary
    tutorial quickstart guide introduction
    beginner quickstart introduction
    advice recommendation tip best
    licence license copyright
    price cost billing
    author contributor maintainer
    history changelog release
    news changelog release
    cluster node replica
    node instance server
    instance node object
    scale scaling workers replicas concurrency
    crowd load traffic
    load traffic requests
    spike burst load
    outage failure down unavailable
    unavailable down 503
    available ready readiness health
    alive health liveness heartbeat
    healthy health liveness readiness
    ping heartbeat keepalive
    metrics monitoring statistics prometheus
    statistics stats metrics count
    measure benchmark metrics
    profile performance benchmark
    backup restore copy dump
    recover recovery resume restore
    resume continue reconnect
    reconnect resume retry
    lost missing loss
    lose loss drop lost
    survive persist durable durability
    durable persist durability disk
    disk storage volume filesystem
    storage store database persistence
    folder directory path
    expire expiry timeout ttl lifetime
    lifetime expiry duration
    duration timeout seconds lifetime
    seconds timeout interval
    interval period seconds every
    clock time timestamp
    date time timestamp
    conversation chat session dialogue
    chat conversation session message
    talk chat conversation websocket
    tab browser window client
    phone mobile client
    bot agent assistant
    assistant agent model
    ai model llm agent
    plugin tool extension
    undo revert rollback
    rename title name
    sort order ordering
    filter search query
    page pagination limit cursor
    nested submount mount sub
    prefix root mount path
    combine compose merge chain
    chain pipeline middleware
    typed type annotation
    warn warning deprecated
    old deprecated legacy obsolete
    obsolete deprecated removed
    new added latest
    upgrade update migrate version
    update upgrade modify
    """


def _related() -> dict[str, tuple[str, ...]]:
    related: dict[str, dict[str, None]] = {}
    for line in _GROUPS.splitlines():
        members = [] if line.strip().startswith("#") else line.split()
        for member in members:
            related.setdefault(stem(member), {}).update(dict.fromkeys(other for other in members if other != member))
    return {key: tuple(others) for key, others in related.items()}


_RELATED: Final = _related()


def related(word: str) -> tuple[str, ...]:
    """Return words that a text may use where a question uses `word`."""
    return _RELATED.get(stem(word), ())
