// The AWS SDK for JavaScript, driven by lines of JSON: see base.py, Driver.

import fs from "node:fs";
import readline from "node:readline";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

import * as s3 from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";

const env = process.env;

const client = new s3.S3Client({
    endpoint: env.S3_URL,
    region: env.S3_REGION,
    forcePathStyle: true,
    maxAttempts: 1,
    credentials: { accessKeyId: env.S3_ACCESS_KEY,
                   secretAccessKey: env.S3_SECRET_KEY },
});

// a stream of unknown length must not be one that knows its file

function body(b) {
    if (b.stream !== undefined) {
        return Readable.from((async function* () {
            yield* fs.createReadStream(b.stream);
        })(), { objectMode: false });
    }
    return fs.readFileSync(b.file);
}

function uploadBody(b) {
    return b.stream !== undefined ? body(b) : fs.createReadStream(b.file);
}

async function send({ operation, input, out }) {
    if (input.Body) {
        input.Body = body(input.Body);
    }
    const { $metadata, Body, ...output } =
        await client.send(new s3[operation + "Command"](input));
    if (Body && out) {
        await pipeline(Body, fs.createWriteStream(out));
    }
    return output;
}

async function upload({ input }) {
    input.Body = uploadBody(input.Body);
    await new Upload({ client, params: input, queueSize: 4,
                       partSize: Number(env.S3_PART) }).done();
    return {};
}

async function presign({ command, input }) {
    return { url: await getSignedUrl(
        client, new s3[command + "Command"](input), { expiresIn: 600 }) };
}

async function answer(request) {
    try {
        const how = { upload, presign }[request.operation] ?? send;
        return { output: await how(request) };
    } catch (e) {
        const status = e.$metadata?.httpStatusCode;
        return { error: { message: `${e.name}: ${e.message} (${status})`,
                          code: e.Code ?? e.name } };
    }
}

for await (const line of readline.createInterface({ input: process.stdin })) {
    process.stdout.write(JSON.stringify(await answer(JSON.parse(line)))
                         + "\n");
}

client.destroy();
