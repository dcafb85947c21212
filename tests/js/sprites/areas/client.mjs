// Sprites as a whole: create, look up, list, update, watch, delete; and how errors reach the client.

import { assert } from "../harness.mjs";

export default function (area) {
  area.check(["SpritesClient.createSprite", "SpritesClient.getSprite", "SpritesClient.sprite"], async ({ client }) => {
    const made = await client.createSprite("client-made", { labels: ["a", "b"], environment: { COLOR: "green" } });
    assert.equal(made.name, "client-made");
    assert.deepEqual(made.labels, ["a", "b"]);
    const found = await client.getSprite("client-made");
    assert.equal(found.id, made.id);
    assert.ok(found.createdAt instanceof Date && found.createdAt <= new Date());
    const { stdout } = await client.sprite("client-made").execFile("sh", ["-c", "echo $COLOR"]);
    assert.equal(stdout, "green\n");
  });

  area.check(["SpritesClient.listSprites", "SpritesClient.listAllSprites"], async ({ client }) => {
    for (const name of ["listed-1", "listed-2", "listed-3"]) await client.createSprite(name);
    const first = await client.listSprites({ prefix: "listed-", maxResults: 2 });
    assert.deepEqual(
      first.sprites.map((sprite) => sprite.name),
      ["listed-1", "listed-2"],
    );
    assert.ok(first.hasMore);
    const { sprites, hasMore } = await client.listSprites({
      prefix: "listed-",
      continuationToken: first.nextContinuationToken,
    });
    assert.deepEqual([sprites.map((sprite) => sprite.name), hasMore], [["listed-3"], false]);
    assert.equal((await client.listAllSprites("listed-")).length, 3);
  });

  area.check(["SpritesClient.deleteSprite", "Sprite.delete", "Sprite.destroy"], async ({ client }) => {
    for (const name of ["gone-1", "gone-2", "gone-3"]) await client.createSprite(name);
    await client.deleteSprite("gone-1");
    await client.sprite("gone-2").delete();
    await client.sprite("gone-3").destroy();
    assert.deepEqual(await client.listAllSprites("gone-"), []);
    await assert.rejects(client.getSprite("gone-1"), { name: "APIError", statusCode: 404 });
  });

  area.check(["parseAPIError"], async ({ sdk, baseURL }) => {
    const response = await fetch(`${baseURL}/v1/sprites`);
    const error = sdk.parseAPIError(response.status, await response.text(), Object.fromEntries(response.headers));
    assert.equal(error.statusCode, 401);
    assert.equal(error.errorCode, "unauthorized");
  });

  area.notRun(
    ["SpritesClient.createToken"],
    "exchanges a Fly.io macaroon at a host that is fixed in the SDK; a host of Roost has the one token it was started with",
  );
  area.notRun(
    [
      "SpritesClient.updateSprite",
      "SpritesClient.updateURLSettings",
      "SpritesClient.upgradeSprite",
      "SpritesClient.restartSprite",
      "SpritesClient.checkSprite",
      "SpritesClient.watchSprites",
      "SpriteListStream.next",
      "SpriteListStream.processAll",
      "SpriteListStream.close",
      "SpriteListStream.[Symbol.asyncIterator]",
      "Sprite.update",
      "Sprite.updateURLSettings",
      "Sprite.upgrade",
      "Sprite.restart",
      "Sprite.check",
      "APIError.isRateLimitError",
      "APIError.isCreationRateLimited",
      "APIError.isConcurrentLimitExceeded",
      "APIError.getRetryAfterSeconds",
    ],
    "not yet",
  );
}
