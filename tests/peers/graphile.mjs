// graphile-worker behind the shared front. node graphile.mjs migrate | front | work | count ; DATABASE_URL, WEBHOOK_SECRET, REPORT

import { Logger, makeWorkerUtils, run, runMigrations } from "graphile-worker";
import pg from "pg";
import { reporter, serve } from "./front.mjs";

const mode = process.argv[2];
const logger = new Logger(() => () => {});
const pgPool = new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 16 });
pgPool.on("error", () => {});

if (mode === "migrate") {
  await runMigrations({ pgPool, logger });
  await pgPool.end();
} else if (mode === "front") {
  const utils = await makeWorkerUtils({ pgPool, logger });
  // The provider's delivery id as the job's key: a redelivery adds nothing.
  serve((id, body) => utils.addJob("event", { id, body }, { jobKey: id }));
} else if (mode === "work") {
  const begun = reporter();
  await run({ pgPool, logger, concurrency: 16, noHandleSignals: true, taskList: { event: async ({ id }) => begun(id) } });
  console.log("working");
} else {
  const { rows } = await pgPool.query("SELECT count(*)::int AS count FROM graphile_worker.jobs");
  console.log(rows[0].count);
  await pgPool.end();
}
