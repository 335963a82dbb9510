// The signatures of @std/http/server-sent-event-stream, for its copy from npm, which has none.

/** One message of an event stream. */
export interface ServerSentEventMessage {
  comment?: string;
  event?: string;
  data?: string;
  id?: string | number;
  /** Milliseconds. */
  retry?: number;
}

export declare class ServerSentEventStream extends TransformStream<ServerSentEventMessage, Uint8Array> {
  constructor();
}
