-- Neovim's vim.lsp.inline_completion over `inline lsp`: attach, type, wait for the ghost text, accept it.
-- The program is in $PROGRAM. Writes "ok" to standard error and leaves with 0, or says what is wrong and leaves
-- with 1. Keys go through nvim_input, so that the editor is in insert mode as with a person.
local deadline_ms = 20000

local function fail(...)
  io.stderr:write(string.format(...), '\n')
  vim.cmd('cquit 1')
end

-- The text drawn at the cursor that is not in the buffer.
local function ghost()
  local namespace = vim.api.nvim_get_namespaces()['nvim.lsp.inline_completion']
  if not namespace then
    return ''
  end
  local lines = {}
  for _, mark in ipairs(vim.api.nvim_buf_get_extmarks(0, namespace, 0, -1, { details = true })) do
    for _, chunk in ipairs(mark[4].virt_text or {}) do
      table.insert(lines, chunk[1])
    end
    for _, line in ipairs(mark[4].virt_lines or {}) do
      table.insert(lines, line[1][1])
    end
  end
  return table.concat(lines, '\n')
end

local function text()
  return table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, true), '\n')
end

-- Steps wait by timers, between which the editor reads its keys.
local function wait_for(what, condition, next_step, started)
  started = started or vim.uv.now()
  if condition() then
    next_step()
  elseif vim.uv.now() - started > deadline_ms then
    fail('no %s; mode %s; text %q; messages: %s', what, vim.api.nvim_get_mode().mode, text(),
      vim.api.nvim_exec2('messages', { output = true }).output)
  else
    vim.defer_fn(function()
      wait_for(what, condition, next_step, started)
    end, 20)
  end
end

local function is_attached()
  local client = vim.lsp.get_clients({ bufnr = 0, name = 'inline' })[1]
  return client and client.initialized
end

local function is_shown()
  return ghost() ~= ''
end

local function leave()
  io.stderr:write('ok\n')
  vim.cmd('qall!')
end

local function accept()
  local shown, before = ghost(), text()
  if not vim.lsp.inline_completion.get() then
    fail('get() found nothing to accept')
  end
  wait_for('accepted text', function()
    return text() ~= before
  end, function()
    local added = #text() - #before
    if added < #shown then
      fail('accepting %q added %d bytes to %q', shown, added, before)
    end
    wait_for('suggestion after the accepted one', is_shown, leave)
  end)
end

-- Once more now and then: the first request may come before the model is loaded.
local function type_on(n_times)
  if not is_shown() and n_times > 0 then
    vim.api.nvim_input('a')
    vim.defer_fn(function()
      type_on(n_times - 1)
    end, 700)
  end
end

vim.lsp.config('inline', { cmd = { vim.env.PROGRAM, 'lsp' }, filetypes = { 'c' } })
vim.lsp.enable('inline')
vim.lsp.inline_completion.enable()
vim.cmd('edit ' .. vim.env.EDITED)
vim.bo.filetype = 'c'
wait_for('language server', is_attached, function()
  vim.api.nvim_input('Go    return ')
  vim.defer_fn(function()
    type_on(20)
  end, 1500)
  wait_for('suggestion', is_shown, accept)
end)
