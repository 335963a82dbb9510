/**
 * A server that breaks connections: `faulty_server.ts PORT reset|close EVERY`.
 *
 * `reset` resets the connection in place of a response, at each EVERY-th request. `close` closes a kept connection at the
 * worst moment, just after the next request on it was sent: at each EVERY-th request that is not the first of its connection.
 */

import { createServer, type Socket } from "node:net";

const [port = "0", mode = "reset", every = "50"] = Deno.args;
const RESPONSE = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nHello world\n";
const END = "\r\n\r\n";
let requests = 0;

function serve(socket: Socket): void {
  let text = "";
  let served = 0;
  socket.setNoDelay(true);
  socket.on("error", () => {});
  socket.on("data", (bytes: Uint8Array) => {
    text += new TextDecoder("latin1").decode(bytes);
    for (let end = text.indexOf(END); end >= 0; end = text.indexOf(END)) {
      text = text.slice(end + END.length);
      const isDue = (mode === "reset" || served > 0) && ++requests % Number(every) === 0;
      if (isDue) return void (mode === "reset" ? socket.resetAndDestroy() : socket.destroy());
      served++;
      socket.write(RESPONSE);
    }
  });
}

createServer(serve).listen(Number(port), "127.0.0.1");
