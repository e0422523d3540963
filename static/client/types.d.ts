/**
 * The shapes of the client: what the server sends (its contract is the README's), what is kept, and what the parts of
 * the client ask of each other. Types only: no browser loads this file.
 */

/** One conversation, as `GET /api/sessions/{id}` and the list stream show it. */
export interface Session {
  session_id: string;
  title?: string | null;
  agent?: string | null;
  persona?: string | null;
  created_at?: string;
  last_activity?: string;
  expires_at?: string | null;
  message_count?: number;
  run?: { run_id: string; status: string } | null;
  metadata?: Record<string, any>;
}
export type Sessions = Record<string, Session>;
export type ListState = { sessions: Sessions };

export type Source = { n: number; file: string; heading?: string; score?: number };
/** Our own part of a message's metadata; `status` also says where a message under way is. */
export type Marks = { run_id?: string; created_at?: string; status?: string; code?: string; detail?: string };
export type Metadata = { sources?: Source[]; sessionstream?: Marks; [key: string]: unknown };
export interface ToolCall {
  id: string;
  type?: string;
  function: { name: string; arguments: string };
  metadata?: Metadata;
  encryptedValue?: string;
}

/** One AG-UI message. Never changed in place: another content is another object, so views compare by identity. */
export interface Message {
  id: string;
  role: string;
  content?: unknown;
  name?: string;
  toolCalls?: ToolCall[];
  toolCallId?: string;
  activityType?: string;
  encryptedValue?: string;
  error?: string;
  metadata?: Metadata;
}

export type QueueEntry = { message_id: string; run_id?: string; message: string; created_at?: string };
/** A run; as `ChatManager.run` it also says how it ended. */
export type Run = { run_id: string; status?: string; agent?: string; message?: string; code?: string };
/** How the last run ended, when it did not end well. */
export type Ending = { kind: "stopped" | "failed"; run_id: string; message: string; code: string };

/** A question that the last run ended by: AG-UI's interrupt, and the tool call it is about. */
export interface Pending {
  id: string;
  reason: string;
  message?: string;
  toolCallId?: string;
  toolCallName?: string;
  /** JSON text. */
  arguments?: string;
  responseSchema?: Record<string, unknown>;
  expiresAt?: string;
  answered: boolean;
}

/** The session's state document; `pending` is there only while a question waits. */
export interface Shared {
  session: Session | null;
  run: Run | null;
  queue: QueueEntry[];
  artifacts?: unknown;
  pending?: Pending[];
}

/** What one session looks like: the fold of its log. */
export interface ChatState {
  messages: Message[];
  /** Ids of the messages that are still being written. */
  open: string[];
  /** The session's state document. */
  shared: Shared;
  ending: Ending | null;
}

export type AgUiEvent = { type: string; [field: string]: any };
export type Fold<T> = (state: T, event: AgUiEvent) => T;
/** The functions that the fold is made of; `state` is always returned changed, or as it is if nothing fits. */
export interface FoldParts {
  /** What `GET /api/state` says. */
  fromAnswer(answer: Record<string, any>): ChatState;
  endingOf(runId?: string, status?: string, code?: string, message?: string): Ending | null;
  lastEnding(messages: Message[]): Ending | null;
  endRun(state: ChatState, runId: string, ending: Ending | null): ChatState;
  /** With an event's metadata merged into its own. */
  marked<T extends Message | ToolCall>(target: T, event: Partial<AgUiEvent>): T;
  /** With one message changed, and marked. */
  edited(
    state: ChatState,
    id: string | undefined,
    event: Partial<AgUiEvent>,
    change?: (message: Message) => Partial<Message>,
  ): ChatState;
  opened(state: ChatState, id: string): ChatState;
  withMessage(state: ChatState, fresh: Message): ChatState;
  /** The message that made a call. */
  callerOf(state: ChatState, callId: string): Message | undefined;
  callEdited(state: ChatState, id: string, change: (call: ToolCall) => ToolCall): ChatState;
}
export type Operation = { op: string; path: string; from?: string; value?: any };
/** The functions that a JSON Patch is applied by. */
export interface PatchParts {
  /** Throws TypeError when an operation does not fit. */
  applyPatch<T>(doc: T, operations: Operation[]): T;
  apply(doc: any, operation: Operation): any;
  /** The steps of a JSON Pointer. */
  keysOf(pointer: string | undefined): string[];
  read(doc: any, keys: string[]): any;
  /** `key`, if it is one of `node`. */
  known(node: any, key: string): string;
  edit(doc: any, keys: string[], op: string, value?: any): any;
}

export type Problem = { code: string; detail: string };

/** Where a stream stands. `until`: when the next attempt starts, in ms since 1970; `reason`: why the last failed. */
export interface Status {
  phase: "idle" | "connecting" | "live" | "reconnecting" | "waiting" | "failed" | "ended";
  until?: number;
  reason?: Problem;
}

export interface Accepted {
  session_id: string;
  run_id: string;
  message_id: string;
  cursor: string;
  status: string;
}

/** What else the POST of a message says. */
export interface More {
  message_id?: string;
  agent?: string;
  persona?: string;
  options?: object;
  on_busy?: "reject" | "queue" | "interrupt";
}

/** A message on its way to the server; it leaves the outbox when the transcript or the queue shows it. */
export interface Outgoing {
  message_id: string;
  session_id: string;
  text: string;
  more?: More;
  phase: "sending" | "waiting" | "refused" | "accepted";
  /** What went wrong last, for people. */
  detail: string;
  /** When the next attempt starts. */
  until: number;
  /** Where the server put it, once accepted. */
  cursor: string;
}

/** What a client is made with; everything has a default. */
export interface Config {
  /** Where the server's page is; by default where this page is. */
  backendUrl?: string;
  /** By default a new one. */
  sessionId?: string;
  /** In characters; 100,000. */
  maxMessageLength?: number;
  /** In a row, before it waits for `wake`; by default without end. */
  reconnectAttempts?: number;
  /** Before the first, in ms; later ones double it. 1000. */
  reconnectDelay?: number;
  /** Of new sessions. */
  agent?: string;
  persona?: string;
  /** For the agent, with each message. */
  options?: object;
  /** What goes with requests; streams have no headers. */
  headers?(): Record<string, string>;
  /** What goes into the addresses of streams. */
  query?(): Record<string, string>;
}

/** What an answer says that is no success: RFC 9457. */
export type Refusal = { status?: number; code?: string; detail?: string; title?: string; retryable?: boolean };

/** Try until it is done or refused for good; `pause` resolves to false to give up. */
export type Persist = <T>(
  action: () => Promise<T>,
  config: Config,
  pause?: (ms: number, error: import("./http.js").ApiError) => Promise<unknown>,
) => Promise<T>;

/** The events of a `ChatManager`: name → what a listener gets. `change` comes after any of the others. */
export interface ChatEvents {
  messages: Message[];
  state: Shared;
  run: Run | null;
  connection: Status;
  error: Problem;
  change: null;
}

/** An `EventTarget` whose listeners get the value alone; `Events`: name → value. */
export interface Emits<Events> {
  /** Returns what ends it. */
  on<K extends keyof Events & string>(name: K, listener: (value: Events[K]) => void): () => void;
  emit<K extends keyof Events & string>(name: K, detail: Events[K]): void;
}

/** What a `ChatManager` offers: one session of a server, for a page that shows it. */
export interface Chat {
  /** What is shown: the messages of the session, then those under way. */
  readonly messages: Message[];
  /** The run that goes on, else how the last one ended. */
  readonly run: Run | null;
  /** The fold of the session's log. */
  readonly view: ChatState;
  /** The session's state document. */
  readonly state: Shared;
  readonly connection: Status;
  /** Why there is no session (any more), if so. */
  readonly problem: Problem | null;
  readonly isLoading: boolean;
  /** The messages of this session that are not in the view yet. */
  readonly outgoing: Outgoing[];
  getSessionId(): string;
  /** Show another session, by default a new one; what is under way to this one still arrives. */
  setSessionId(id?: string): Promise<void>;
  /** Follow the session. Resolves when it is shown, or known not to be there. */
  connect(): Promise<void>;
  /** Hold no connection any more; what is shown stays. */
  disconnect(): void;
  /** Try everything again, now. */
  wake(): void;
  /** Send a message: shown at once, repeated until it is taken. Rejects with `ApiError` when it is refused for good. */
  sendMessage(text: string, more?: More): Promise<Accepted>;
  /** Send a refused or waiting message now. */
  retryMessage(messageId: string): void;
  /** Give up a message that is under way or queued, and return its text. */
  cancelMessage(messageId: string): string | undefined;
  /** Stop a run, by default the one that goes on; its status is `stopping` at once. */
  interrupt(runId?: string): Promise<{ session_id: string; run_id: string; outcome: string; cursor: string }>;
  /** Say something that the agent sees from its next run on, which `respond` starts. */
  sendSystemMessage(text: string, more?: { message_id?: string; respond?: boolean }): Promise<Accepted>;
  /** Answer a call that a run waits for, with text or any JSON, or with why it could not be done. */
  sendToolResult(toolCallId: string, content: unknown, error?: string): Promise<Accepted>;
  /** Ask the agent to go on with another network of the wallet. */
  sendNetworkSwitchRequest(network: unknown, more?: { respond?: boolean }): Promise<Accepted>;
  /** Tell what became of a transaction: as the answer to the call that waits, else as a system message. */
  sendTransactionResult(
    result: unknown,
    more?: { toolCallId?: string; error?: string; respond?: boolean },
  ): Promise<Accepted>;
}

export interface ListEvents {
  sessions: Sessions;
  connection: Status;
}

/** How a stream is opened, and who hears of it. */
export interface StreamOptions extends Config {
  url(): string;
  /** Asks the server, after it refused the stream: fails with an `ApiError` that says why. */
  why(): Promise<unknown>;
  /** `id` is the last one that arrived: of a snapshot, only the last frame has one. */
  onEvent(event: AgUiEvent, id: string): void;
  onStatus(status: Status): void;
}

/** A stream that all tabs share, and what is made of it. */
export interface FeedOptions<T> extends Omit<StreamOptions, "onEvent" | "onStatus" | "url"> {
  /** From a position on, or with a snapshot. */
  url(cursor: string): string;
  /** What keeps the tabs of one backend together. */
  scope: string;
  /** What is followed. */
  name: string;
  /** Whether it waits for one of the places of the browser. */
  sharesPlaces: boolean;
  empty: T;
  /** Throws TypeError when state and log have parted: only a snapshot helps. */
  fold: Fold<T>;
  /** What to begin with; by default the stream says it. */
  load?(): Promise<{ state: T; cursor: string }>;
  /** Why nothing comes after an event, if so. */
  endOf?(event: AgUiEvent): Problem | null;
  /** Whether something happens just now. */
  isBusy?(state: T): boolean;
  onChange(): void;
}

/**
 * What tabs say to each other that follow the same thing. One of them leads: it alone holds the connection, and tells
 * the others each `event` and how the connection is. All fold by themselves; one that missed something (`prev` is not
 * where it stands) says `hello`, and the leader answers with its `state`. Only visible tabs queue for the lead: one
 * that leads says when it is hidden, and gives the lead up to a visible tab that says `hello`. From one that does not
 * answer, because it was suspended, the lead is taken away. `expected` is where the server is known to be.
 */
export type Said =
  | { type: "hello"; cursor: string; expected: string; isVisible: boolean }
  | { type: "status"; cursor: string; status: Status; isHidden: boolean; state?: any }
  | { type: "event"; event: AgUiEvent; cursor: string; prev: string };

/** What tabs talk by; none where the browser has none, or no storage for this page. */
export type OpenChannel = (name: string, hear: (said: any) => void) => BroadcastChannel | undefined;
/** Hold a lock until `signal` ends it; without locks each tab holds what it wants. */
export type Hold = (name: string, options: LockOptions) => Promise<void>;
export interface LockOptions {
  /** Ends the waiting and the holding. */
  signal: AbortSignal;
  onHeld(): void;
  /** Another tab took it away. */
  onLost(): void;
  /** Take it away from another tab. */
  steal?: boolean;
}

/**
 * A place for a stream: HTTP/1.1 has six connections for all tabs, so their sessions share three. A hidden tab gives
 * its place up to who waits, a visible one after its turn.
 */
export interface PlaceOptions {
  scope: string;
  /** Open the stream. */
  onTake(): void;
  /** Close it. */
  onYield(): void;
  /** Whether there is something to see in it. */
  isBusy(): boolean;
}

export interface OutboxOptions extends Config {
  /** Where the tab's storage keeps it. */
  key: string;
  post(body: object): Promise<Accepted>;
  onAccepted(item: Outgoing): void;
  onChange(): void;
}
