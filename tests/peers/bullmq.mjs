// BullMQ behind the shared front. node bullmq.mjs front | work | count ; REDIS_PORT, WEBHOOK_SECRET, REPORT

import { Queue, Worker } from "bullmq";
import { reporter, serve } from "./front.mjs";

const connection = { host: "127.0.0.1", port: Number(process.env.REDIS_PORT) };
const mode = process.argv[2];

if (mode === "front") {
  const queue = new Queue("events", { connection });
  await queue.waitUntilReady();
  // The provider's delivery id as the job's id: a redelivery adds nothing.
  serve((id, body) => queue.add("event", { body }, { jobId: `event-${id}` }));
} else if (mode === "work") {
  const begun = reporter();
  const worker = new Worker("events", async (job) => begun(job.id.slice("event-".length)), { connection, concurrency: 16 });
  await worker.waitUntilReady();
  console.log("working");
} else {
  const queue = new Queue("events", { connection });
  const counts = await queue.getJobCounts();
  console.log(Object.values(counts).reduce((sum, count) => sum + count, 0));
  await queue.close();
}
