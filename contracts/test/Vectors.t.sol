// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Eip712} from "../src/Eip712.sol";
import {Escrow} from "../src/Escrow.sol";
import {TestToken} from "../src/TestToken.sol";
import {Channel, CompactSignature, LockRow, ReceiptRow} from "../src/interfaces/IEscrow.sol";
import {Offer, PodId} from "../src/interfaces/IPodRegistry.sol";
import {deployRegistry} from "./Deploy.sol";
import {Fixture} from "./Fixture.sol";
import {vm} from "./Vm.sol";

/// Makes `vectors/valid/{eip712,offers}.json`, compares them with what is committed, and feeds the
/// committed bytes to the contracts. `WRITE_VECTORS=true forge test --mc VectorsTest` writes them.
contract VectorsTest is Fixture {
    string private constant EIP712_FILE = "../vectors/valid/eip712.json";
    string private constant OFFERS_FILE = "../vectors/valid/offers.json";
    uint256 private constant CHAIN_ID = 2035;
    uint24 private constant EPOCH = 2;
    string private constant DEPLOYER = "phallama vectors: deployer";
    string private constant USER_LABEL = "phallama vectors: user";
    string private constant OWNER_LABEL = "phallama vectors: owner";
    string private constant OPERATOR_LABEL = "phallama vectors: operator";
    string private constant IDENTITY_LABEL = "phallama vectors: identity";

    uint40 private constant DEADLINE = 1_800_604_800;
    uint96 private constant WIDE = type(uint96).max - 1;
    bytes32 private constant SALT = keccak256("phallama vectors: salt");
    bytes32 private constant RECEIPT_HASH = keccak256("phallama vectors: receipt");

    bytes32 private separator;

    function setUp() public {
        vm.chainId(CHAIN_ID);
        vm.warp(START);
        startVerifier();
        vm.startPrank(addressOf(DEPLOYER));
        token = new TestToken();
        registry = deployRegistry(verifier);
        escrow = new Escrow(address(token), registry);
        vm.stopPrank();
        separator = escrow.DOMAIN_SEPARATOR();
        podId = registry.podIdOf(addressOf(OPERATOR_LABEL), SALT);
        // The first run after a change of the format has no file to compare with.
        if (vm.envOr("WRITE_VECTORS", false)) {
            vm.writeFile(EIP712_FILE, eip712Json());
            vm.writeFile(OFFERS_FILE, offersJson());
        }
    }

    function test_committedDigestsAreWhatTheCodeComputes() public view {
        vm.assertEq(vm.readFile(EIP712_FILE), eip712Json(), "vectors/valid/eip712.json");
    }

    function test_committedOffersAreWhatTheCodeComputes() public view {
        vm.assertEq(vm.readFile(OFFERS_FILE), offersJson(), "vectors/valid/offers.json");
    }

    function test_registryStoresTheHashesOfTheVectors() public {
        string memory json = vm.readFile(OFFERS_FILE);
        for (uint256 i; i < 3; ++i) {
            vm.prank(addressOf(OPERATOR_LABEL));
            PodId id = registry.register(bytes32(i), "http://pod", OWNER, offerCase(i));
            bytes32 expected = vm.parseJsonBytes32(json, path("cases", i, "offersHash"));
            vm.assertEq(registry.pod(id).offersHash, expected, "offersHash");
        }
    }

    /// Every signature of the file moves the contract one step; each step fails if a digest
    /// differs.
    function test_escrowAcceptsTheVectors() public {
        string memory json = vm.readFile(EIP712_FILE);
        address user = vm.parseJsonAddress(json, ".messages[0].fields.user");
        address owner = vm.parseJsonAddress(json, ".messages[0].fields.owner");
        registerVectorPod();
        token.mint(address(this), 10 * UNIT);
        token.approve(address(escrow), 10 * UNIT);
        escrow.openAndDeposit(user, owner, signatureAt(json, 0), 10 * UNIT);
        growEpoch(user, owner);

        LockRow[] memory locks = new LockRow[](1);
        locks[0] = LockRow(
            5 * UNIT, keccak256(abi.encode(offerCase(0))), EPOCH, DEADLINE, signatureAt(json, 1)
        );
        (uint256 moved,) = escrow.lock(podId, locks);
        vm.assertEq(moved, 5 * UNIT, "locked");

        (uint256 paid,) =
            escrow.settle(podId, vm.parseJsonBytes(json, ".rows.packed"), signatureAt(json, 5));
        vm.assertEq(paid, 900_000, "settled");

        ReceiptRow[] memory rows = new ReceiptRow[](1);
        rows[0] = ReceiptRow(
            addressOf(IDENTITY_LABEL),
            1_250_000,
            UNIT,
            EPOCH,
            3,
            RECEIPT_HASH,
            signatureAt(json, 2),
            signatureAt(json, 4)
        );
        (paid,) = escrow.settleReceipts(podId, rows);
        vm.assertEq(paid, 100_000, "settled by receipt");

        escrow.startExitFor(podId, EPOCH, signatureAt(json, 3));
        escrow.closeFor(user, podId, EPOCH, 1_200_000, signatureAt(json, 6), signatureAt(json, 7));
        Channel memory channel = escrow.channel(user, podId);
        vm.assertEq(channel.claimed, 1_200_000, "closed at");
        vm.assertEq(channel.epoch, EPOCH + 1, "epoch");

        escrow.withdrawFor(user, 2 * UNIT, 0, DEADLINE, signatureAt(json, 8));
        vm.assertEq(token.balanceOf(owner), 2 * UNIT, "withdrawn");
    }

    function registerVectorPod() private {
        vm.warp(START);
        vm.startPrank(addressOf(OPERATOR_LABEL));
        registry.register(SALT, "http://pod", OWNER, offerCase(0));
        vm.stopPrank();
        attest(podId, IDENTITY_LABEL);
    }

    function growEpoch(address user, address owner) private {
        for (uint256 i; i < EPOCH; ++i) {
            vm.prank(owner);
            escrow.startExit(user, podId);
            vm.warp(block.timestamp + 48 hours);
            escrow.finishExit(user, podId);
        }
    }

    function signatureAt(string memory json, uint256 i)
        private
        pure
        returns (CompactSignature memory)
    {
        bytes memory raw = vm.parseJsonBytes(json, path("messages", i, "signature"));
        vm.assertEq(raw.length, 64, "signature length");
        (bytes32 r, bytes32 vs) = abi.decode(raw, (bytes32, bytes32));
        return CompactSignature(r, vs);
    }

    function path(string memory list, uint256 i, string memory leaf)
        private
        pure
        returns (string memory)
    {
        return string.concat(".", list, "[", vm.toString(i), "].", leaf);
    }

    // The file with the digests.

    function eip712Json() private view returns (string memory json) {
        json =
            '{\n  "comment": "Signed types of spec/billing.md. A private key is keccak256 of its label. ';
        json = string.concat(json, "Integers are decimal strings. ");
        json = string.concat(json, 'Signatures are EIP-2098 compact, made with RFC 6979.",\n');
        json = string.concat(json, '  "domain": {', domainFields(), "},\n");
        json = string.concat(json, '  "identifiers": {', identifierFields(), "},\n");
        json = string.concat(json, '  "rows": {', rowsFields(), "},\n");
        json = string.concat(json, '  "messages": [\n', messagesJson(), "\n  ]\n}\n");
    }

    function domainFields() private view returns (string memory json) {
        json = string.concat(text("name", "Phallama Escrow"), ", ", text("version", "1"));
        json = string.concat(json, ", ", text("chainId", vm.toString(CHAIN_ID)));
        json = string.concat(json, ", ", text("verifyingContract", vm.toString(address(escrow))));
        json = string.concat(json, ", ", text("separator", vm.toString(separator)));
    }

    function identifierFields() private view returns (string memory json) {
        address user = addressOf(USER_LABEL);
        json = text("operator", vm.toString(addressOf(OPERATOR_LABEL)));
        json = string.concat(json, ", ", text("salt", vm.toString(SALT)));
        json = string.concat(json, ", ", text("podId", podText()));
        json = string.concat(json, ", ", text("user", vm.toString(user)));
        json = string.concat(json, ", ", text("channel", vm.toString(channelOf(user))));
    }

    /// One settle row with the voucher of the messages below.
    function packedRows() private view returns (bytes memory) {
        return settleRow(USER_LABEL, IDENTITY_LABEL, 1_250_000, 900_000, EPOCH);
    }

    function rowsFields() private view returns (string memory json) {
        bytes memory rows = packedRows();
        json = string.concat(text("cap", "1250000"), ", ", text("claimed", "900000"));
        json = string.concat(json, ", ", text("epoch", vm.toString(EPOCH)));
        json = string.concat(json, ", ", text("packed", vm.toString(rows)));
        json = string.concat(json, ", ", text("rowsHash", vm.toString(keccak256(rows))));
    }

    /// The first nine are the story that `test_escrowAcceptsTheVectors` plays; the rest are edges.
    function messagesJson() private view returns (string memory json) {
        json = openJson();
        json = string.concat(json, ",\n", allocationJson(5 * UNIT, EPOCH, DEADLINE));
        json = string.concat(json, ",\n", voucherJson(addressOf(IDENTITY_LABEL), EPOCH, 1_250_000));
        json = string.concat(json, ",\n", exitJson());
        json = string.concat(json, ",\n", settlementJson(EPOCH, 3, UNIT, RECEIPT_HASH));
        json = string.concat(json, ",\n", batchJson());
        json = string.concat(json, ",\n", closeJson(IDENTITY_LABEL));
        json = string.concat(json, ",\n", closeJson(USER_LABEL));
        json = string.concat(json, ",\n", withdrawJson(2 * UNIT, 0, DEADLINE));
        json = string.concat(json, ",\n", withdrawJson(WIDE, type(uint64).max, type(uint40).max));
        json = string.concat(json, ",\n", allocationJson(WIDE, type(uint24).max, type(uint40).max));
        json = string.concat(
            json, ",\n", voucherJson(address(type(uint160).max), type(uint24).max, WIDE)
        );
        json = string.concat(json, ",\n", voucherJson(address(0), 0, 0));
        json = string.concat(
            json, ",\n", settlementJson(type(uint24).max, type(uint64).max, WIDE, RECEIPT_HASH)
        );
        json = string.concat(json, ",\n", settlementJson(0, 0, 0, 0));
    }

    /// One signed message in the making; members grow with `add`.
    struct Message {
        string name;
        string label;
        string encoding;
        string members;
        string fields;
    }

    function begin(string memory name, string memory label)
        private
        pure
        returns (Message memory m)
    {
        (m.name, m.label) = (name, label);
    }

    function add(Message memory m, string memory name, string memory kind, string memory value)
        private
        pure
    {
        bool first = bytes(m.fields).length == 0;
        m.encoding = string.concat(m.encoding, first ? "" : ",", kind, " ", name);
        m.members = string.concat(m.members, first ? "" : ", ", member(name, kind));
        m.fields = string.concat(m.fields, first ? "" : ", ", text(name, value));
    }

    function openJson() private view returns (string memory) {
        address user = addressOf(USER_LABEL);
        address owner = addressOf(OWNER_LABEL);
        Message memory m = begin("OpenAccount", USER_LABEL);
        add(m, "user", "address", vm.toString(user));
        add(m, "owner", "address", vm.toString(owner));
        return messageJson(m, keccak256(abi.encode(Eip712.OPEN_ACCOUNT_TYPE, user, owner)));
    }

    function allocationJson(uint96 total, uint24 epoch, uint40 deadline)
        private
        view
        returns (string memory)
    {
        bytes32 terms = keccak256(abi.encode(offerCase(0)));
        Message memory m = begin("Allocation", USER_LABEL);
        add(m, "podId", "bytes32", podText());
        add(m, "total", "uint96", vm.toString(total));
        add(m, "termsHash", "bytes32", vm.toString(terms));
        add(m, "epoch", "uint24", vm.toString(epoch));
        add(m, "deadline", "uint40", vm.toString(deadline));
        return messageJson(
            m, keccak256(abi.encode(Eip712.ALLOCATION_TYPE, podId, total, terms, epoch, deadline))
        );
    }

    function voucherJson(address identity, uint24 epoch, uint96 cap)
        private
        view
        returns (string memory)
    {
        Message memory m = begin("Voucher", USER_LABEL);
        add(m, "podId", "bytes32", podText());
        add(m, "identity", "address", vm.toString(identity));
        add(m, "epoch", "uint24", vm.toString(epoch));
        add(m, "cap", "uint96", vm.toString(cap));
        return
            messageJson(m, keccak256(abi.encode(Eip712.VOUCHER_TYPE, podId, identity, epoch, cap)));
    }

    function withdrawJson(uint96 amount, uint64 nonce, uint40 deadline)
        private
        view
        returns (string memory)
    {
        address user = addressOf(USER_LABEL);
        Message memory m = begin("Withdraw", USER_LABEL);
        add(m, "user", "address", vm.toString(user));
        add(m, "amount", "uint96", vm.toString(amount));
        add(m, "nonce", "uint64", vm.toString(nonce));
        add(m, "deadline", "uint40", vm.toString(deadline));
        return
            messageJson(
                m, keccak256(abi.encode(Eip712.WITHDRAW_TYPE, user, amount, nonce, deadline))
            );
    }

    function exitJson() private view returns (string memory) {
        Message memory m = begin("StartExit", USER_LABEL);
        add(m, "podId", "bytes32", podText());
        add(m, "epoch", "uint24", vm.toString(EPOCH));
        return messageJson(m, keccak256(abi.encode(Eip712.START_EXIT_TYPE, podId, EPOCH)));
    }

    function settlementJson(uint24 epoch, uint64 seq, uint96 cumulative, bytes32 receiptHash)
        private
        view
        returns (string memory)
    {
        bytes32 channel = channelOf(addressOf(USER_LABEL));
        Message memory m = begin("Settlement", IDENTITY_LABEL);
        add(m, "channel", "bytes32", vm.toString(channel));
        add(m, "epoch", "uint24", vm.toString(epoch));
        add(m, "seq", "uint64", vm.toString(seq));
        add(m, "cumulative", "uint96", vm.toString(cumulative));
        add(m, "receiptHash", "bytes32", vm.toString(receiptHash));
        return messageJson(
            m,
            keccak256(
                abi.encode(Eip712.SETTLEMENT_TYPE, channel, epoch, seq, cumulative, receiptHash)
            )
        );
    }

    function batchJson() private view returns (string memory) {
        bytes32 rowsHash = keccak256(packedRows());
        Message memory m = begin("Batch", IDENTITY_LABEL);
        add(m, "podId", "bytes32", podText());
        add(m, "rowsHash", "bytes32", vm.toString(rowsHash));
        return messageJson(m, keccak256(abi.encode(Eip712.BATCH_TYPE, podId, rowsHash)));
    }

    function closeJson(string memory label) private view returns (string memory) {
        bytes32 channel = channelOf(addressOf(USER_LABEL));
        Message memory m = begin("Close", label);
        add(m, "channel", "bytes32", vm.toString(channel));
        add(m, "epoch", "uint24", vm.toString(EPOCH));
        add(m, "cumulative", "uint96", "1200000");
        bytes memory encoded = abi.encode(Eip712.CLOSE_TYPE, channel, EPOCH, uint96(1_200_000));
        return messageJson(m, keccak256(encoded));
    }

    function messageJson(Message memory m, bytes32 structHash)
        private
        view
        returns (string memory json)
    {
        bytes32 digest = Eip712.digest(separator, structHash);
        vm.assertEq(independentDigest(m), digest, string.concat("digest of ", m.name));
        (bytes32 r, bytes32 vs) = vm.signCompact(secret(m.label), digest);
        string memory encoding = string.concat(m.name, "(", m.encoding, ")");
        json = string.concat("    {\n      ", text("type", m.name), ",\n      ");
        json = string.concat(json, text("encoding", encoding), ",\n      ");
        json = string.concat(
            json, text("typeHash", vm.toString(keccak256(bytes(encoding)))), ",\n      "
        );
        json = string.concat(json, '"fields": {', m.fields, "},\n      ");
        json = string.concat(json, text("structHash", vm.toString(structHash)), ",\n      ");
        json = string.concat(json, text("digest", vm.toString(digest)), ",\n      ");
        json = string.concat(json, text("signerLabel", m.label), ",\n      ");
        json = string.concat(json, text("signer", vm.toString(addressOf(m.label))), ",\n      ");
        json = string.concat(json, text("signature", vm.toString(abi.encodePacked(r, vs))));
        json = string.concat(json, "\n    }");
    }

    /// What forge's own EIP-712 encoder makes of the same fields.
    function independentDigest(Message memory m) private view returns (bytes32) {
        string memory json = string.concat(
            '{"types": {"EIP712Domain": [',
            member("name", "string"),
            ", ",
            member("version", "string"),
            ", "
        );
        json = string.concat(json, member("chainId", "uint256"), ", ");
        json = string.concat(json, member("verifyingContract", "address"));
        json = string.concat(json, '], "', m.name, '": [', m.members);
        json = string.concat(json, ']}, "primaryType": "', m.name, '", "domain": {');
        json = string.concat(json, domainFields(), '}, "message": {', m.fields, "}}");
        return vm.eip712HashTypedData(json);
    }

    function podText() private view returns (string memory) {
        return vm.toString(PodId.unwrap(podId));
    }

    function member(string memory name, string memory kind) private pure returns (string memory) {
        return string.concat('{"name": "', name, '", "type": "', kind, '"}');
    }

    function text(string memory name, string memory value) private pure returns (string memory) {
        return string.concat('"', name, '": "', value, '"');
    }

    // The file with the offers.

    function offerCase(uint256 i) private pure returns (Offer[] memory list) {
        list = new Offer[](i + 1);
        list[0] = Offer(
            "smollm2:135m",
            sha256("phallama vectors: weights of smollm2"),
            50_000,
            200_000,
            8192,
            2048
        );
        if (i >= 1) {
            list[1] = Offer(
                "hf.co/org/a-model-name.of_exactly-64-bytes:which-is-the-longest1",
                sha256("phallama vectors: weights of the long name"),
                0,
                0,
                1,
                1
            );
        }
        if (i >= 2) {
            list[2] =
                Offer("z", bytes32(0), WIDE, type(uint96).max, type(uint32).max, type(uint32).max);
        }
    }

    function offersJson() private pure returns (string memory) {
        return string.concat(
            '{\n  "comment": "offersHash = keccak256(abi.encode(Offer[])). Prices are decimal strings.",\n',
            '  "cases": [\n',
            offersCaseJson(0),
            ",\n",
            offersCaseJson(1),
            ",\n",
            offersCaseJson(2),
            "\n  ]\n}\n"
        );
    }

    function offersCaseJson(uint256 i) private pure returns (string memory json) {
        Offer[] memory list = offerCase(i);
        json = '    {\n      "offers": [\n';
        for (uint256 j; j < list.length; ++j) {
            json = string.concat(json, offerJson(list[j]), j + 1 < list.length ? ",\n" : "\n");
        }
        return string.concat(
            json,
            '      ],\n      "encoded": "',
            vm.toString(abi.encode(list)),
            '",\n      "offersHash": "',
            vm.toString(keccak256(abi.encode(list))),
            '"\n    }'
        );
    }

    function offerJson(Offer memory offer) private pure returns (string memory json) {
        json = string.concat("        {", text("model", offer.model), ", ");
        json = string.concat(json, text("weightsSha256", vm.toString(offer.weightsSha256)), ", ");
        json = string.concat(
            json, text("inputPricePerMtok", vm.toString(offer.inputPricePerMtok)), ", "
        );
        json = string.concat(
            json, text("outputPricePerMtok", vm.toString(offer.outputPricePerMtok)), ", "
        );
        json = string.concat(json, '"contextTokens": ', vm.toString(offer.contextTokens), ", ");
        json = string.concat(json, '"maxOutputTokens": ', vm.toString(offer.maxOutputTokens), "}");
    }
}
