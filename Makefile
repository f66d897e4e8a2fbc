# A thin front to CMake and the tools; every target says what it runs. `make help` lists them.
BUILD  ?= build
PREFIX ?= /usr/local
JOBS   ?= $(shell nproc 2>/dev/null || echo 2)
export CTEST_OUTPUT_ON_FAILURE = 1

C_FILES = $(shell find src include tests docs/examples -name '*.[ch]' | sort)

.PHONY: all setup test clients web ops demo bench eval lint format asan tsan fuzz install uninstall clean help

CONFIGURE = cmake -G Ninja --log-level=WARNING -S . -B

all: ## build everything into build/ (Release)
	@$(CONFIGURE) $(BUILD) -DCMAKE_INSTALL_PREFIX=$(PREFIX) >/dev/null
	@ninja -C $(BUILD) --quiet

setup: ## install what building needs (Debian, Ubuntu; elsewhere it lists it)
	@tools/setup

test: setup all ## build and run all tests; no network is needed
	@ctest --test-dir $(BUILD) -j2 --no-tests=error

clients: setup all ## the daemon under its real clients, which this installs (npm, Vim, tmux)
	@tools/setup clients
	@ctest --test-dir $(BUILD) -R '^clients_' --no-tests=error

web: setup all ## the dashboard in a real browser, which this installs (Chromium, npm)
	@tools/setup web
	@ctest --test-dir $(BUILD) -R '^web_' --no-tests=error

ops: setup all ## docs/ops under Prometheus' own promtool, which this fetches
	@tools/setup ops
	@ctest --test-dir $(BUILD) -R '^ops$$' --no-tests=error

demo: setup ## get a small model once, and complete code with it
	@$(CONFIGURE) $(BUILD) -DCMAKE_INSTALL_PREFIX=$(PREFIX) >/dev/null
	@ninja -C $(BUILD) --quiet inline
	@tools/demo $(BUILD)/inline

bench: all ## measure the model that `inline` would use on this machine
	@$(BUILD)/inline bench model

eval: setup all ## the quality of suggestions on held-out packages (MODEL=NAME|FILE, EVAL=--quick)
	@tools/eval/eval.py --program $(BUILD)/inline $(if $(MODEL),--model "$(MODEL)") $(EVAL)

lint: ## formatting, layers, sizes, clang-tidy
	@tools/setup lint
	@clang-format --dry-run --Werror $(C_FILES)
	@tools/check_layers
	@$(CONFIGURE) $(BUILD) >/dev/null
	@find src -name '*.c' | sort | xargs -P $(JOBS) -n 4 clang-tidy --quiet -p $(BUILD) 2>/dev/null && echo "lint: ok"

format: ## rewrite the sources as .clang-format says
	@clang-format -i $(C_FILES)

asan: setup ## tests under the address and undefined-behaviour sanitizers
	@$(CONFIGURE) $(BUILD)-asan -DINLINE_SANITIZE=address,undefined >/dev/null
	@ninja -C $(BUILD)-asan --quiet
	@ctest --test-dir $(BUILD)-asan -j2 --no-tests=error

tsan: setup ## tests under the thread sanitizer
	@$(CONFIGURE) $(BUILD)-tsan -DINLINE_SANITIZE=thread >/dev/null
	@ninja -C $(BUILD)-tsan --quiet
	@ctest --test-dir $(BUILD)-tsan -j2 --no-tests=error

fuzz: ## the libFuzzer targets (clang), into build-fuzz/
	@tools/setup fuzz
	@CC=clang $(CONFIGURE) $(BUILD)-fuzz -DINLINE_FUZZ=ON -DINLINE_SANITIZE=address,undefined >/dev/null
	@ninja -C $(BUILD)-fuzz --quiet fuzz_edit fuzz_gguf fuzz_http fuzz_lsp fuzz_record fuzz_stop fuzz_tokenizer

install: all ## program, library, header, man page, completions (PREFIX, DESTDIR)
	@cmake --install $(BUILD) --prefix $(PREFIX)

uninstall: ## remove what install put there
	@test -f $(BUILD)/install_manifest.txt || { echo "nothing was installed from $(BUILD)/"; exit 1; }
	@while read -r f || [ -n "$$f" ]; do rm -f "$(DESTDIR)$$f"; done < $(BUILD)/install_manifest.txt

clean: ## delete the build directories
	@rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-tsan $(BUILD)-fuzz

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 12
