import { assertEquals, assertRejects } from "@std/assert";
import { DeadlineWheel } from "../../../lib/core/deadline_wheel.ts";
import { gatherBody, joinPieces } from "../../../lib/transport/fetch/gather_body.ts";
import { FakeClock } from "../../support/fake_clock.ts";

type Bytes = Uint8Array<ArrayBuffer>;

function setup() {
  const clock = new FakeClock();
  return { clock, wheel: new DeadlineWheel({ clock, tickMs: 10 }) };
}

/** Reads that bring these pieces, and then wait for `last`. */
function reads(pieces: Bytes[], last: Promise<Bytes | null>): () => Promise<Bytes | null> {
  return () => {
    const piece = pieces.shift();
    return piece === undefined ? last : Promise.resolve(piece);
  };
}

const A = Uint8Array.of(1, 2);
const B = Uint8Array.of(3);

Deno.test("gatherBody() gives everything when the end comes in time, and leaves no deadline behind", async () => {
  const { wheel } = setup();
  assertEquals(await gatherBody(reads([A, B], Promise.resolve(null)), wheel), {
    pieces: [A, B],
    pending: null,
  });
  assertEquals(wheel.pending, 0);
});

Deno.test("gatherBody() gives what has come and the read that goes on when the end takes long", async () => {
  const { clock, wheel } = setup();
  const { promise, resolve } = Promise.withResolvers<Bytes | null>();
  const gathering = gatherBody(reads([A], promise), wheel);
  clock.tick(200);
  const { pieces, pending } = await gathering;
  assertEquals(pieces, [A]);
  resolve(B);
  assertEquals(await pending, B);
});

Deno.test("gatherBody() fails with the read, and nobody has to listen to one that fails later", async () => {
  const { clock, wheel } = setup();
  await assertRejects(() => gatherBody(() => Promise.reject(new Error("broken")), wheel), Error, "broken");
  assertEquals(wheel.pending, 0);
  const { promise, reject } = Promise.withResolvers<Bytes | null>();
  const gathering = gatherBody(reads([], promise), wheel);
  clock.tick(200);
  const { pending } = await gathering;
  reject(new Error("late"));
  await assertRejects(() => pending!, Error, "late");
});

Deno.test("joinPieces() makes one of them", () => {
  assertEquals(joinPieces([A, B, A]), Uint8Array.of(1, 2, 3, 1, 2));
  assertEquals(joinPieces([A]), A);
  assertEquals(joinPieces([]), new Uint8Array(0));
});
