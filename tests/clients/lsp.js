// An LSP client made of Microsoft's packages over `inline lsp`. Arguments: the packages' directory, the program,
// a command that prints the daemon's process id.
//
// The tests run in order and share one session, as an editor has one for hours.
'use strict';
const assert = require('node:assert');
const {execFileSync, spawn} = require('node:child_process');
const test = require('node:test');
const {createRequire} = require('node:module');

const [folder, program, ...pidCommand] = process.argv.slice(2);
const packages = createRequire(`${folder}/package.json`);
const rpc = packages('vscode-jsonrpc/node');
const lsp = packages('vscode-languageserver-protocol/node');

const PATIENCE = {timeout: 60000}; // sanitized programs on busy machines are slow
const sleep = ms => new Promise(resolve => setTimeout(resolve, ms).unref());
const daemonPid = () => Number(execFileSync(pidCommand[0], pidCommand.slice(1)));

// One editor: the language server's process and the connection to it.
class Editor {
    constructor() {
        this.progress = [];
        this.process = spawn(program, ['lsp'], {stdio: ['pipe', 'pipe', 'inherit']});
        this.exited = new Promise(resolve => this.process.on('exit', resolve));
        this.connection = rpc.createMessageConnection(new rpc.StreamMessageReader(this.process.stdout),
            new rpc.StreamMessageWriter(this.process.stdin));
        this.connection.onRequest(lsp.WorkDoneProgressCreateRequest.type, () => {});
        this.connection.onNotification('$/progress', params => this.progress.push(params));
        this.connection.onError(error => assert.fail(`connection: ${error}`));
        this.connection.listen();
    }

    async start(inlineCompletion = {}) {
        const result = await this.connection.sendRequest(lsp.InitializeRequest.type, {
            processId: process.pid, rootUri: null, clientInfo: {name: 'test'},
            capabilities: {
                general: {positionEncodings: ['utf-16']}, window: {workDoneProgress: true},
                textDocument: {inlineCompletion, synchronization: {}}
            }
        });
        await this.connection.sendNotification(lsp.InitializedNotification.type, {});
        return result;
    }

    open(uri, text) {
        return this.connection.sendNotification(lsp.DidOpenTextDocumentNotification.type,
            {textDocument: {uri, languageId: 'c', version: 1, text}});
    }

    change(uri, version, ...contentChanges) {
        return this.connection.sendNotification(lsp.DidChangeTextDocumentNotification.type,
            {textDocument: {uri, version}, contentChanges});
    }

    complete(uri, line, character, token, triggerKind = lsp.InlineCompletionTriggerKind.Automatic) {
        return this.connection.sendRequest(lsp.InlineCompletionRequest.type,
            {textDocument: {uri}, position: {line, character}, context: {triggerKind}}, token);
    }
}

// Of either form that a result may have.
const items = result => result === null ? [] : Array.isArray(result) ? result : result.items;
const at = (line, from, to) => ({start: {line, character: from}, end: {line, character: to}});

const MAIN = 'file:///project/main.c';
const TEXT = 'int add(int a, int b)\n{\n    return \n}\n';
const editor = new Editor();
test.after(() => editor.process.kill()); // if it has not ended by itself
let answered; // the item that MAIN had at first

// An answer for this place: one request after the other until the model is there.
async function firstItem(uri, line, character) {
    for (let i = 0; i < 100; i++) {
        const found = items(await editor.complete(uri, line, character, undefined,
            lsp.InlineCompletionTriggerKind.Invoked)); // automatic ones are quiet after a deletion
        if (found.length > 0) return found[0];
        await sleep(50);
    }
    assert.fail(`no suggestion for ${uri}`);
}

test('initialize', PATIENCE, async () => {
    const {capabilities, serverInfo} = await editor.start();
    const sync = capabilities.textDocumentSync;
    assert.strictEqual(sync.change ?? sync, lsp.TextDocumentSyncKind.Incremental);
    assert.ok(capabilities.inlineCompletionProvider);
    assert.ok(!capabilities.completionProvider, 'a client that has inline completion gets no second source');
    assert.ok(capabilities.executeCommandProvider.commands.length > 0);
    assert.strictEqual(capabilities.positionEncoding ?? 'utf-16', 'utf-16');
    assert.strictEqual(typeof serverInfo.name, 'string');
});

test('an inline completion', PATIENCE, async () => {
    await editor.open(MAIN, TEXT);
    answered = await firstItem(MAIN, 2, 11);
    assert.strictEqual(typeof answered.insertText, 'string');
    assert.ok(answered.insertText.length > 0);
    if (answered.range) assert.strictEqual(answered.range.start.line, answered.range.end.line);
});

test('work-done progress that begins also ends', PATIENCE, async () => {
    const kinds = editor.progress.map(p => p.value.kind);
    assert.strictEqual(kinds.filter(k => k === 'begin').length, kinds.filter(k => k === 'end').length);
});

test('incremental changes leave the text that whole ones leave', PATIENCE, async () => {
    const uri = 'file:///project/other.c';
    const close = () => editor.connection.sendNotification(lsp.DidCloseTextDocumentNotification.type,
        {textDocument: {uri}});
    await editor.open(uri, TEXT);
    const expected = (await firstItem(uri, 2, 11)).insertText;
    await close();
    await editor.open(uri, '/* \u{1f600}\u{e4} */ int ad(int a, int b)\n\n    return \n}\n');
    await editor.change(uri, 2, {range: at(0, 16, 16), text: 'd'}, {range: at(1, 0, 0), text: '{'});
    assert.notStrictEqual((await firstItem(uri, 2, 11)).insertText, expected);
    await editor.change(uri, 3, {range: at(0, 0, 10), text: ''});
    assert.strictEqual((await firstItem(uri, 2, 11)).insertText, expected);
    await editor.change(uri, 4, {text: 'nothing\n'});
    await editor.change(uri, 5, {text: TEXT});
    assert.strictEqual((await firstItem(uri, 2, 11)).insertText, expected);
    await close();
});

test('asked by hand', PATIENCE, async () => {
    const found = items(await editor.complete(MAIN, 2, 11, undefined, lsp.InlineCompletionTriggerKind.Invoked));
    assert.ok(found.length > 0);
});

test('a superseded request is answered with null', PATIENCE, async () => {
    const uri = 'file:///project/superseded.c';
    await editor.open(uri, TEXT);
    const requests = [];
    for (let i = 0; i < 4; i++) {
        await editor.change(uri, 2 + i, {range: at(2, 11 + i, 11 + i), text: 'a'});
        requests.push(editor.complete(uri, 2, 12 + i));
    }
    const results = await Promise.all(requests);
    assert.deepStrictEqual(results.slice(0, -1), [null, null, null]);
    assert.ok(items(results.at(-1)).length > 0);
});

test('$/cancelRequest', PATIENCE, async () => {
    const uri = 'file:///project/cancelled.c';
    await editor.open(uri, TEXT.replace('add', 'cancelled'));
    const source = new rpc.CancellationTokenSource();
    const request = editor.complete(uri, 2, 11, source.token);
    source.cancel();
    const result = await request.catch(error => error);
    if (result !== null) assert.strictEqual(result.code, lsp.LSPErrorCodes.RequestCancelled, String(result));
});

test('what is shown and accepted is noted', PATIENCE, async () => {
    await editor.connection.sendNotification('textDocument/didFocus', {textDocument: {uri: MAIN}});
    await editor.connection.sendNotification('textDocument/didShowCompletion', {item: answered});
    await editor.connection.sendNotification('textDocument/didPartiallyAcceptCompletion',
        {item: answered, acceptedLength: 1});
    assert.ok(answered.command, 'an item carries a command, which clients run when it is accepted');
    await editor.connection.sendRequest(lsp.ExecuteCommandRequest.type,
        {command: answered.command.command, arguments: answered.command.arguments});
});

test('completion for clients without inline completion', PATIENCE, async () => {
    const other = new Editor();
    const {capabilities} = await other.start(null);
    assert.ok(capabilities.completionProvider);
    await other.open(MAIN, TEXT);
    const found = items(await other.connection.sendRequest(lsp.CompletionRequest.type,
        {textDocument: {uri: MAIN}, position: {line: 2, character: 11}, context: {triggerKind: 1}}));
    assert.strictEqual(found[0].textEdit.newText, answered.insertText);
    await other.connection.sendRequest(lsp.ShutdownRequest.type);
    await other.connection.sendNotification(lsp.ExitNotification.type);
    assert.strictEqual(await other.exited, 0);
});

test('configuration may change', PATIENCE, async () => {
    await editor.connection.sendNotification(lsp.DidChangeConfigurationNotification.type, {settings: {inline: {}}});
    await editor.connection.sendNotification(lsp.DidChangeConfigurationNotification.type, {settings: null});
});

test('what is not known is refused or ignored', PATIENCE, async () => {
    await editor.connection.sendNotification('$/somethingNew', {});
    await editor.connection.sendNotification('workspace/somethingNew', {});
    await assert.rejects(editor.connection.sendRequest('textDocument/unheardOf', {}),
        error => error.code === rpc.ErrorCodes.MethodNotFound);
    const result = await editor.complete('file:///project/never-opened.c', 0, 0).catch(error => error);
    assert.ok(result === null || result instanceof rpc.ResponseError);
    await editor.complete(MAIN, 4000, 4000).catch(error => error); // any answer, but an answer
    assert.ok((await firstItem(MAIN, 2, 11)).insertText);
});

test('the daemon is killed, and the editor sees but a pause', PATIENCE, async () => {
    await editor.change(MAIN, 2, {range: at(0, 4, 7), text: 'sum'});
    const before = await firstItem(MAIN, 2, 11);
    const killed = daemonPid();
    const inFlight = editor.complete(MAIN, 2, 11).catch(error => error);
    process.kill(killed, 'SIGKILL');
    const result = await Promise.race([inFlight, sleep(10000).then(() => 'no answer')]);
    assert.notStrictEqual(result, 'no answer');
    await editor.change(MAIN, 3, {range: at(3, 1, 1), text: '\n'});
    await editor.change(MAIN, 4, {range: at(3, 1, 1), text: ' '}, {range: {start: {line: 3, character: 1},
        end: {line: 4, character: 0}}, text: ''});
    const after = await firstItem(MAIN, 2, 11);
    assert.strictEqual(after.insertText, before.insertText);
    assert.notStrictEqual(daemonPid(), killed);
});

test('a second editor works beside it, on the same daemon', PATIENCE, async () => {
    const pid = daemonPid();
    const second = new Editor();
    await second.start();
    await second.open(MAIN, TEXT);
    assert.strictEqual(items(await second.complete(MAIN, 2, 11))[0].insertText, answered.insertText);
    assert.strictEqual(daemonPid(), pid);
    await second.connection.sendNotification(lsp.ExitNotification.type);
    assert.strictEqual(await second.exited, 1, 'exit without shutdown is an error (LSP 3.18)');
});

test('shutdown and exit', PATIENCE, async () => {
    await editor.connection.sendRequest(lsp.ShutdownRequest.type);
    await editor.connection.sendNotification(lsp.ExitNotification.type);
    assert.strictEqual(await editor.exited, 0);
    editor.connection.dispose();
});
