// The ollama package against the daemon. Arguments: the packages' directory, the server's URL, a letter that
// every completion of the test model has.
'use strict';
const assert = require('node:assert');
const test = require('node:test');
const {createRequire} = require('node:module');

const [folder, url, letter] = process.argv.slice(2);
const {Ollama} = createRequire(`${folder}/package.json`)('ollama');
const client = new Ollama({host: url});
const fillIn = {model: '', prompt: 'int f(int a)\n{\n    return ', suffix: ';\n}\n',
    options: {num_predict: 32, temperature: 0}};
const raw = {model: '', raw: true, options: fillIn.options,
    prompt: `<|fim_prefix|>${fillIn.prompt}<|fim_suffix|>${fillIn.suffix}<|fim_middle|>`};

test('generate with a suffix', async () => {
    const answer = await client.generate(fillIn);
    assert.ok(answer.response.includes(letter));
    assert.strictEqual(answer.done, true);
    assert.ok(['stop', 'length'].includes(answer.done_reason));
    for (const member of ['total_duration', 'load_duration', 'prompt_eval_count', 'prompt_eval_duration',
        'eval_count', 'eval_duration']) {
        assert.strictEqual(typeof answer[member], 'number', member);
    }
    assert.ok(Math.abs(new Date(answer.created_at) - Date.now()) < 300000, answer.created_at);
    assert.ok(answer.model);
});

test('raw: tokens by their names', async () => {
    assert.ok((await client.generate(raw)).response.includes(letter));
});

test('a stream is the same text in pieces', async () => {
    const whole = await client.generate(raw);
    let text = '', last;
    for await (const piece of await client.generate({...raw, stream: true})) {
        text += piece.response;
        last = piece;
    }
    assert.strictEqual(text, whole.response);
    assert.strictEqual(last.done, true);
    assert.strictEqual(last.eval_count, whole.eval_count);
});

test('stop texts', async () => {
    const answer = await client.generate({...raw, options: {...raw.options, stop: [letter]}});
    assert.ok(!answer.response.includes(letter));
    assert.strictEqual(answer.done_reason, 'stop');
});

test('an empty prompt loads the model and answers nothing', async () => {
    const answer = await client.generate({model: '', prompt: '', keep_alive: '5m'});
    assert.deepStrictEqual([answer.response, answer.done], ['', true]);
});

test('models', async () => {
    const {models} = await client.list();
    assert.ok(models.length >= 1);
    for (const model of models) {
        assert.strictEqual(typeof model.name, 'string');
        assert.strictEqual(typeof model.size, 'number');
        assert.strictEqual(typeof model.details, 'object');
    }
});

test('the message of an error is text', async () => {
    await assert.rejects(client.generate({...raw, options: {num_predict: 'many'}}), error => {
        assert.strictEqual(error.status_code, 400);
        assert.match(error.message, /num_predict/); // an object would read "[object Object]"
        return true;
    });
});

test('aborting a stream ends it, and the next request is served', async () => {
    const stream = await client.generate({...raw, stream: true, options: {...raw.options, num_predict: 200}});
    await assert.rejects(async () => {
        for await (const piece of stream) {
            assert.ok(!piece.done, 'it was to be aborted before its end');
            client.abort();
        }
    }, {name: 'AbortError'});
    assert.ok((await client.generate(raw)).response.includes(letter));
});
