// Messages in two rounds; between them the script waits for a line.
import readline from "node:readline";

export const nextLine = () =>
  new Promise((resolve) => {
    const lines = readline.createInterface({ input: process.stdin });
    lines.once("line", () => {
      lines.close();
      resolve();
    });
  });

/** `call` turns the members of a message into the call of a library. */
export function firstRound(call) {
  for (const ref of [0, 1, 2]) {
    call("track", { userId: "u1", event: "Order Completed", properties: { ref, total: 49.9 } });
  }
  const traits = { email: "mike@example.com", address: { city: "Wien" } };
  call("identify", { userId: "u1", traits });
  call("page", { userId: "u1", category: "Docs", name: "Home", properties: { path: "/" } });
  call("screen", { userId: "u1", name: "Home" });
  call("group", { userId: "u1", groupId: "acme", traits: { name: "Acme" } });
  call("alias", { previousId: "a1", userId: "u1" });
}

export const secondRound = { anonymousId: "a2", event: "Second Round" };
