#!/usr/bin/env bash
# Does a test fail when the escrow is wrong? Changes one thing at a time in a copy of the contracts (a check
# dropped, a comparison moved by one, an update forgotten) and runs the tests of the function that it is in;
# all others, and then the invariants, only where none of those fails. Ends with an error when a mutant lives,
# or does not apply or compile any more.
#
#   mutants.sh              all of them
#   mutants.sh exit lock    those whose name contains one of the words
#
# `tools/setup.sh contracts` must have run before.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
forge=${FORGE:-$PWD/node_modules/@foundry-rs/forge-linux-amd64/bin/forge}
words=("$@")

copy=$(mktemp -d "${TMPDIR:-/tmp}/phallama-mutants-XXXXXX")
trap 'rm -rf "$copy"' EXIT
mkdir "$copy/contracts"
cp -r src test foundry.toml tools "$copy/contracts"
ln -s "$PWD/node_modules" "$copy/contracts/node_modules"
ln -s "$PWD/../vectors" "$copy/vectors"
cp -r src "$copy/src"
cd "$copy/contracts"
# A mutant may leave a variable without use.
export FOUNDRY_DENY=never FOUNDRY_FUZZ_RUNS=64

# tests LOG FILE...: whether the tests of these files pass. Only they are compiled.
tests() {
  local log=$1 files
  shift
  files=$(IFS=,; echo "$*")
  "$forge" test --fail-fast --match-path "test/{$files,}.t.sol" >"$log" 2>&1
}
first_failure() { sed -n 's/^\[FAIL[^]]*\] \([A-Za-z_0-9]*\).*/\1/p' "$1" | head -1; }

# Where a fault of this name must be found.
nearest() {
  case $1 in
    'deposit: reentered') echo OddTokens ;;
    'deposit: permit'* | 'deposit: authorization'* | withdrawFor*) echo EscrowSigned ;;
    open* | deposit* | withdraw* | *fork) echo EscrowAccounts ;;
    lock*) echo EscrowLock ;;
    settle* | claim* | signatures*) echo EscrowSettle ;;
    *) echo EscrowExit ;;
  esac
}
units=(EscrowAccounts EscrowSigned EscrowLock EscrowSettle EscrowBatches EscrowExit EscrowReplay OddTokens)

killed=0
faults=()

# mutant NAME FILE OLD NEW: OLD must stand in the file exactly once.
mutant() {
  local name=$1 file=src/$2 old=$3 new=$4 text word chosen=
  for word in "${words[@]:-}"; do [[ $name == *"$word"* ]] && chosen=1; done
  [ -n "$chosen" ] || return 0
  text=$(<"$copy/$file")
  local rest=${text#*"$old"}
  if [ "$rest" = "$text" ] || [[ $rest == *"$old"* ]]; then
    faults+=("$name: does not apply")
    return
  fi
  printf '%s\n' "${text/"$old"/"$new"}" >"$file"
  local found=
  if ! tests nearest.log "$(nearest "$name")"; then
    found=$(first_failure nearest.log)
  elif ! tests units.log "${units[@]}"; then
    found=$(first_failure units.log)
  elif ! tests runs.log EscrowInvariant; then
    found=$(first_failure runs.log)
  else
    faults+=("$name: lives")
  fi
  if [ -n "$found" ]; then
    killed=$((killed + 1))
    printf '%-44s %s\n' "$name" "$found"
  elif grep -q 'Compiler run failed' ./*.log; then
    faults+=("$name: does not compile")
  fi
  rm -f ./*.log
  cp "$copy/$file" "$file"
}

# The fixture deploys these two by name, so no test imports them.
"$forge" build src/AttestationVerifier.sol src/PodRegistry.sol >build.log
tests units.log "${units[@]}" EscrowInvariant && grep -q 'tests passed' units.log || {
  echo 'error: the tests fail without a mutant' >&2
  tail -20 units.log >&2
  exit 1
}

mutant 'open: opened twice' Escrow.sol 'require(current == address(0), AlreadyOpen(user, current));' ''
mutant 'open: zero owner' Escrow.sol 'require(owner != address(0), ZeroOwner());' ''
mutant 'open: zero signer' Escrow.sol 'signer != address(0) && signer == expected' 'signer == expected'
mutant 'open: any signer' Escrow.sol 'signer != address(0) && signer == expected' 'signer != address(0)'
mutant 'open: another owner is fine' Escrow.sol \
  'if (owner == address(0) || _accounts[user].owner != owner) open' \
  'if (_accounts[user].owner == address(0)) open'
mutant 'deposit: account not open' Escrow.sol \
  'require(_accounts[user].owner != address(0), NotOpen(user));
        require(!_depositing' 'require(!_depositing'
mutant 'deposit: reentered' Escrow.sol 'require(!_depositing, Reentered());' ''
mutant 'deposit: nothing arrived' Escrow.sol 'held > before' 'held >= before'
mutant 'deposit: permit refused' Escrow.sol 'allowed >= permit.amount' 'allowed >= 0'
mutant 'deposit: authorization for any account' Escrow.sol \
  'abi.encode(Eip712.DEPOSIT_TYPE, user, salt)' 'abi.encode(Eip712.DEPOSIT_TYPE, address(0), salt)'
mutant 'withdraw: more than free' Escrow.sol 'require(amount <= free,' 'require(amount <= free + 1,'
mutant 'withdraw: all of it refused' Escrow.sol 'require(amount <= free,' 'require(amount < free,'
mutant 'withdraw: free stays' Escrow.sol '_accounts[user].free = uint96(free - amount);' ''
mutant 'withdraw: by anybody' Escrow.sol \
  'function withdraw(address user, uint256 amount) external onlyOwner(user) {
        _withdraw(user, msg.sender, amount)' \
  'function withdraw(address user, uint256 amount) external {
        _withdraw(user, msg.sender, amount)'
mutant 'withdrawFor: last second' Escrow.sol 'block.timestamp <= deadline' 'block.timestamp < deadline'
mutant 'withdrawFor: nonce used twice' Escrow.sol '_withdrawNonces[user] = current + 1;' ''
mutant 'withdrawFor: any nonce' Escrow.sol 'require(nonce == current, WrongNonce(current, nonce));' ''
mutant 'lock: last second' Escrow.sol 'block.timestamp > deadline ||' 'block.timestamp >= deadline ||'
mutant 'lock: deadline' Escrow.sol 'block.timestamp > deadline || ' ''
mutant 'lock: more than 96 bits' Escrow.sol ' || total > type(uint96).max) return 0;' ') return 0;'
mutant 'lock: while an exit runs' Escrow.sol ' || Slots.exitAtOf(current) != 0' ''
mutant 'lock: another epoch' Escrow.sol 'epoch != Slots.epochOf(current) || ' ''
mutant 'lock: all that is free refused' Escrow.sol \
  'difference > Slots.freeOf(word)' 'difference >= Slots.freeOf(word)'
mutant 'lock: more than is free' Escrow.sol 'if (difference > Slots.freeOf(word)) return 0;' ''
mutant 'lock: free stays' Escrow.sol 'Slots.storeLessFree(payer, word, difference);' ''
mutant 'lock: locked stays' Escrow.sol 'Slots.storeMoreLocked(entry, current, difference);' ''
mutant 'settle: parts of rows' Escrow.sol 'count != 0 && rows.length % ROW_BYTES == 0' 'count != 0'
mutant 'settle: any signer' Escrow.sol '_requireIdentity(podId, identity);
        skipped' 'skipped'
mutant 'settle: no credit' Escrow.sol '_addCredit(podId, paid);
        emit Settled(podId, paid, count' 'emit Settled(podId, paid, count'
mutant 'settle: bad row not reported' Escrow.sol \
  'if (amount == 0) _mark(skipped, (offset' 'if (amount == 1) _mark(skipped, (offset'
mutant 'settle: last second of a key' Escrow.sol \
  'require(block.timestamp <= goodUntil' 'require(block.timestamp < goodUntil'
mutant 'settleReceipts: settlement by anybody' Escrow.sol \
  'signer == address(0) || signer != identity' 'signer == address(0)'
mutant 'settleReceipts: key past its grace' Escrow.sol \
  'if (block.timestamp > REGISTRY.keyGoodUntil(podId, identity)) return 0;' ''
mutant 'settleReceipts: voucher for another key' Escrow.sol \
  'abi.encode(Eip712.VOUCHER_TYPE, podId, identity, row.epoch, row.cap)' \
  'abi.encode(Eip712.VOUCHER_TYPE, podId, address(0), row.epoch, row.cap)'
mutant 'settleReceipts: no credit' Escrow.sol '_addCredit(podId, paid);
        emit Settled(podId, paid, rows' 'emit Settled(podId, paid, rows'
mutant 'claim: another epoch' Slots.sol 'and(gt(most, already), sameEpoch)' 'gt(most, already)'
mutant 'claim: above the cap' Slots.sol 'let most := shr(160, head)' 'let most := U96_MAX'
mutant 'claim: above what was metered' Slots.sol \
  'let limit := and(shr(64, head), U96_MAX)' 'let limit := U96_MAX'
mutant 'claim: above what is locked' Slots.sol \
  'limit := and(word, U96_MAX)' 'limit := U96_MAX'
mutant 'startExit: again' Escrow.sol 'require(entry.exitAt == 0, ExitRunning(entry.exitAt));' ''
mutant 'startExit: by anybody' Escrow.sol \
  'function startExit(address user, PodId podId) external onlyOwner(user)' \
  'function startExit(address user, PodId podId) external'
mutant 'startExitFor: any epoch' Escrow.sol '_requireEpoch(_channels[podId][user], epoch);
        _startExit' '_startExit'
mutant 'exit: shorter window' Escrow.sol '48 hours' '47 hours'
mutant 'finishExit: a second later' Escrow.sol 'block.timestamp >= exitAt' 'block.timestamp > exitAt'
mutant 'finishExit: early' Escrow.sol \
  'require(block.timestamp >= exitAt, ExitTooEarly(exitAt, block.timestamp));' ''
mutant 'finishExit: none running' Escrow.sol 'require(exitAt != 0, NoExit(user, podId));' ''
mutant 'close: by anybody' Escrow.sol 'CompactSignature calldata identitySignature
    ) external onlyOwner(user) {' 'CompactSignature calldata identitySignature
    ) external {'
mutant 'close: any identity' Escrow.sol '_requireIdentity(podId, identity);
        Channel' 'Channel'
mutant 'close: no credit' Escrow.sol '_addCredit(podId, paid);
        emit Closed' 'emit Closed'
mutant 'closeFor: without the user' Escrow.sol \
  'require(signer == user, WrongSigner(user, signer));' ''
mutant 'closeFor: any epoch' Escrow.sol '_requireEpoch(_channels[podId][user], epoch);
        bytes32 digest' 'bytes32 digest'
mutant 'end: same epoch' Escrow.sol 'newEpoch = entry.epoch + 1;' 'newEpoch = entry.epoch;'
mutant 'end: locked stays' Escrow.sol '(entry.claimed, 0, newEpoch)' '(entry.locked, 0, newEpoch)'
mutant 'end: exit stays' Escrow.sol '(entry.claimed, 0, newEpoch)' '(entry.claimed, entry.exitAt, newEpoch)'
mutant 'end: no refund' Escrow.sol '_addFree(user, refund);' ''
mutant 'end: too much is free' Escrow.sol \
  'require(amount <= type(uint96).max - free, FreeTooLarge(user, free, amount));' ''
mutant 'collect: twice' Escrow.sol '_credits[podId] = 0;' ''
mutant 'collect: nothing' Escrow.sol 'require(amount != 0, NothingToCollect(podId));' ''
mutant 'signatures: high s' Eip712.sol 'if lt(s, HALF_ORDER) {
                mstore(input, digest_)' 'if 1 {
                mstore(input, digest_)'
mutant 'signatures: high s of a row' Eip712.sol 'if lt(s, HALF_ORDER) {
                mstore(add(template, 0x60)' 'if 1 {
                mstore(add(template, 0x60)'
mutant 'signatures: the signer before' Eip712.sol 'mstore(0x00, 0)
                pop(staticcall(gas(), 1, add(template' 'pop(staticcall(gas(), 1, add(template'
mutant 'signatures: on a fork' Escrow.sol \
  'block.chainid == _DEPLOYMENT_CHAIN_ID' 'block.chainid != 0'

printf '%s mutants killed\n' "$killed"
[ ${#faults[@]} -eq 0 ] || { printf 'error: %s\n' "${faults[@]}" >&2; exit 1; }
