/* What the producer and the workers must agree on: the Redis server and the name of the queue. */

export const QUEUE = process.env.QUEUE ?? 'moments';

/* An address such as rediss://:password@host:6379, or the path of a Unix socket. Whoever loses the server waits for it. */
export const connection = { url: process.env.REDIS_URL ?? 'redis://127.0.0.1:6379', maxRetriesPerRequest: null };
