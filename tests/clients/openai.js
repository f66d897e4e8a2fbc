// The openai package against the daemon. Arguments: the packages' directory, the server's URL, a letter that
// every completion of the test model has.
'use strict';
const assert = require('node:assert');
const test = require('node:test');
const {createRequire} = require('node:module');

const [folder, url, letter] = process.argv.slice(2);
const OpenAI = createRequire(`${folder}/package.json`)('openai');
const client = new OpenAI({baseURL: `${url}/v1`, apiKey: 'none', maxRetries: 0, timeout: 20000});
const fillIn = {model: '', prompt: 'int f(int a)\n{\n    return ', suffix: ';\n}\n', max_tokens: 32, temperature: 0};

test('completion in whole', async () => {
    const answer = await client.completions.create(fillIn);
    assert.strictEqual(answer.object, 'text_completion');
    assert.ok(answer.choices[0].text.includes(letter));
    assert.ok(['stop', 'length'].includes(answer.choices[0].finish_reason));
    const usage = answer.usage;
    assert.strictEqual(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
    assert.ok(answer.id && answer.model && answer.created > 1e9);
});

test('a stream is the same text in pieces', async () => {
    const whole = await client.completions.create(fillIn);
    let text = '', last;
    for await (const piece of await client.completions.create({...fillIn, stream: true})) {
        assert.strictEqual(piece.object, 'text_completion');
        if (piece.choices.length > 0) last = piece.choices[0];
        text += piece.choices[0]?.text ?? '';
    }
    assert.strictEqual(text, whole.choices[0].text);
    assert.strictEqual(last.finish_reason, whole.choices[0].finish_reason);
});

test('usage at the end of a stream, where asked for', async () => {
    let usage;
    const stream = await client.completions.create(
        {...fillIn, stream: true, stream_options: {include_usage: true}});
    for await (const piece of stream) usage = piece.usage ?? usage;
    assert.ok(usage.completion_tokens > 0);
});

test('stop texts and a limit of tokens', async () => {
    const stopped = await client.completions.create({...fillIn, stop: [letter]});
    assert.ok(!stopped.choices[0].text.includes(letter));
    assert.strictEqual(stopped.choices[0].finish_reason, 'stop');
    const limited = await client.completions.create({...fillIn, max_tokens: 1});
    assert.strictEqual(limited.choices[0].finish_reason, 'length');
    assert.strictEqual(limited.usage.completion_tokens, 1);
});

test('a prompt without a suffix, and one of tokens', async () => {
    assert.ok((await client.completions.create({model: '', prompt: 'int f(', max_tokens: 8})).choices.length);
    assert.ok((await client.completions.create({model: '', prompt: [40, 41, 42], max_tokens: 8})).choices.length);
});

test('null is absent, unknown members do not matter', async () => {
    await client.completions.create({...fillIn, stop: null, top_p: null, seed: null, logprobs: null, best_of: 1,
        echo: false, user: 'me', something_new: {a: 1}});
});

test('models', async () => {
    const models = await client.models.list();
    assert.ok(models.data.length >= 1);
    for (const model of models.data) assert.strictEqual(model.object, 'model');
});

test('a bad request is a BadRequestError that says what is wrong', async () => {
    await assert.rejects(client.completions.create({...fillIn, max_tokens: 'many'}), error => {
        assert.ok(error instanceof OpenAI.BadRequestError, String(error));
        assert.strictEqual(error.status, 400);
        assert.strictEqual(error.type, 'invalid_request_error');
        assert.match(error.message, /max_tokens/);
        return true;
    });
});

test('an unknown route is a NotFoundError', async () => {
    await assert.rejects(client.files.list(), OpenAI.NotFoundError);
});

test('chat is refused with what to use instead', async () => {
    await assert.rejects(client.chat.completions.create({model: '', messages: []}), error => {
        assert.strictEqual(error.status, 501);
        assert.match(error.message, /\/v1\/completions/);
        return true;
    });
});

test('aborting a stream ends it, and the next request is served', async () => {
    const stream = await client.completions.create({...fillIn, max_tokens: 200, stream: true});
    for await (const piece of stream) {
        assert.ok(piece.choices);
        break; // the package aborts the request
    }
    assert.ok(stream.controller.signal.aborted);
    const controller = new AbortController();
    const waiting = client.completions.create({...fillIn, max_tokens: 200}, {signal: controller.signal});
    controller.abort();
    await assert.rejects(waiting, OpenAI.APIUserAbortError);
    assert.ok((await client.completions.create(fillIn)).choices[0].text.includes(letter));
});
