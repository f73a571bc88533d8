/** How a stream ended: whole; its source failed; somebody stopped it; its producer died. */
export type Outcome = "done" | "failed" | "stopped" | "lost";

export interface End {
  outcome: Outcome;
  /** A message that is safe to show. */
  error: string | null;
}

/** Why nothing more comes, and how the stream ended, where that is known. */
export interface Close {
  /**
   * `end`: the stream has ended, see `outcome`. `closed`: by `close()`. `gone`: the server does not
   * know the stream any more (404, 410). `empty`: there is nothing to read (204). `refused`: by
   * another status, or with something that is no event stream. `unreachable`: after too many tries.
   */
  reason: "end" | "closed" | "gone" | "empty" | "refused" | "unreachable";
  status: number | null;
  outcome: Outcome | null;
  error: string | null;
}

/** Why the connection ended, and when it is tried again. */
export interface Reconnecting {
  /**
   * `drain`: the server stops in good order, another one goes on. `ended`: the response ended
   * without saying so. `network`: the connection broke, or was silent. `refused`: the server cannot answer now.
   */
  reason: "drain" | "ended" | "network" | "refused";
  /** Milliseconds. */
  delay: number;
  status: number | null;
  error?: unknown;
}

/** An event of the stream. */
export interface StreamEvent extends MessageEvent<string> {
  /** Whether it was received before the page was reloaded. */
  readonly replayed: boolean;
}

export interface StreamSourceEvents {
  open: Event;
  /** An event without a type. */
  message: StreamEvent;
  /** Something is missing before what follows; `data` is `{"reason": …}`. */
  gap: StreamEvent;
  /** What was received is void, the stream follows from its start; `data` is `{"reason": …}`. */
  reset: StreamEvent;
  /** The stream has ended; `data` is `{"outcome": …, "error": …}`. Then comes `close`. */
  end: StreamEvent;
  reconnecting: CustomEvent<Reconnecting>;
  /** Nothing more comes; always the last event, once. */
  close: CustomEvent<Close>;
}

export interface StreamSourceOptions {
  /** `GET`, unless told otherwise. */
  method?: string;
  headers?: HeadersInit;
  /** Sent at each connection, so it must be one that can be read again: no stream. */
  body?: string | Blob | ArrayBuffer | FormData | URLSearchParams;
  credentials?: RequestCredentials;
  /** Tries in a row without receiving anything before it gives up (10). */
  retries?: number;
  /**
   * Milliseconds of silence after which a connection counts as dead (60,000): more than the server
   * leaves between two heartbeats (15,000). `Infinity` for one that sends none.
   */
  idle?: number;
  /** Keep what was received under this key, so that a reloaded page goes on behind it. */
  key?: string;
  /** Where to keep it (`sessionStorage`). */
  storage?: Pick<Storage, "getItem" | "setItem" | "removeItem">;
  /** UTF-16 units that are kept at most (1,000,000); of a longer stream, nothing is. */
  keep?: number;
}

/** An EventSource over fetch, with any method, headers and body. */
export class StreamSource extends EventTarget {
  static readonly CONNECTING: 0;
  static readonly OPEN: 1;
  static readonly CLOSED: 2;

  constructor(url: string | URL, options?: StreamSourceOptions);

  readonly url: string;
  readonly readyState: 0 | 1 | 2;
  /** The id after which it resumes. */
  readonly lastEventId: string;
  readonly end: End | null;
  /** Resolves when nothing more will come; never rejects. */
  readonly closed: Promise<Close>;

  /** Closes the connection; the stream itself goes on. */
  close(): void;
  /** Closes, and forgets what was kept for a reload. */
  forget(): void;

  addEventListener<K extends keyof StreamSourceEvents>(
    type: K,
    listener: (this: StreamSource, event: StreamSourceEvents[K]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  /** Events of the types that the source gives them. */
  addEventListener(
    type: string,
    listener: (this: StreamSource, event: StreamEvent) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
}
