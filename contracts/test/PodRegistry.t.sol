// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttestationVerifier} from "../src/interfaces/IAttestationVerifier.sol";
import {AttestedKey, IPodRegistry, Offer, Pod, PodId} from "../src/interfaces/IPodRegistry.sol";
import {deployRegistry} from "./Deploy.sol";
import {Fixture} from "./Fixture.sol";
import {bound, vm} from "./Vm.sol";

/// What operators say about their pods. Their keys are in `PodKeys.t.sol`.
contract PodRegistryTest is Fixture {
    string private constant URL = "https://pod.example:8443";
    address private immutable STRANGER = addressOf("stranger");

    function setUp() public {
        deploy();
    }

    function test_refusesAVerifierWithoutCode() public {
        vm.expectRevert(abi.encodeWithSelector(IPodRegistry.NoCode.selector, STRANGER));
        deployRegistry(IAttestationVerifier(STRANGER));
    }

    function test_register_storesEverything() public {
        PodId listed = listPod("listed");
        Pod memory pod = registry.pod(listed);
        vm.assertEq(PodId.unwrap(pod.podId), idOf("listed"), "podId");
        vm.assertEq(pod.operator, OPERATOR, "operator");
        vm.assertEq(pod.payout, PAYOUT, "payout");
        vm.assertEq(pod.url, URL, "url");
        vm.assertEq(abi.encode(pod.offers), abi.encode(offers()), "offers");
        vm.assertEq(pod.offersHash, keccak256(abi.encode(offers())), "offersHash");
        AttestedKey memory none;
        vm.assertEq(abi.encode(pod.key), abi.encode(none), "no key");
        vm.assertEq(pod.updatedAtBlock, 100, "updatedAtBlock");
        vm.assertEq(pod.updatedAt, START, "updatedAt");
        vm.assertEq(pod.retired, false, "retired");
        vm.assertEq(registry.payoutOf(listed), PAYOUT, "payoutOf");
        vm.assertEq(registry.total(), 2, "total");
    }

    function test_register_emits() public {
        PodId id = PodId.wrap(idOf("another"));
        vm.expectEmit(address(registry));
        emit IPodRegistry.Registered(id, OPERATOR, PAYOUT, URL, keccak256(abi.encode(offers())));
        listPod("another");
    }

    function test_register_refusesASaltUsedTwice() public {
        vm.expectRevert(abi.encodeWithSelector(IPodRegistry.AlreadyRegistered.selector, podId));
        this.registerFor(OPERATOR, "salt", URL, PAYOUT, offers());
    }

    function test_register_ofTheSameSaltByAnotherOperatorIsAnotherPod() public {
        PodId id = this.registerFor(STRANGER, "salt", URL, PAYOUT, offers());
        vm.assertEq(PodId.unwrap(id), keccak256(abi.encode(STRANGER, keccak256("salt"))), "podId");
        vm.assertEq(registry.total(), 2, "total");
    }

    function test_register_refusesEachBadPart() public {
        vm.expectRevert(abi.encodeWithSelector(IPodRegistry.BadUrl.selector, "ftp://pod", 256));
        this.registerFor(OPERATOR, "x", "ftp://pod", PAYOUT, offers());
        vm.expectRevert(abi.encodeWithSelector(IPodRegistry.ZeroPayout.selector));
        this.registerFor(OPERATOR, "x", URL, address(0), offers());
        vm.expectRevert(abi.encodeWithSelector(IPodRegistry.BadOfferCount.selector, 0, 32));
        this.registerFor(OPERATOR, "x", URL, PAYOUT, new Offer[](0));
        vm.assertEq(registry.total(), 1, "total");
    }

    function test_updateUrl_acceptsUrls() public {
        string[4] memory good = [
            "http://a",
            "https://[2001:db8::1]:8443/pod",
            "https://pod.example/a?b=c&d=e#f",
            repeated("https://", 256)
        ];
        for (uint256 i; i < good.length; ++i) {
            vm.expectEmit(address(registry));
            emit IPodRegistry.UrlUpdated(podId, good[i]);
            vm.prank(OPERATOR);
            registry.updateUrl(podId, good[i]);
            vm.assertEq(registry.pod(podId).url, good[i], "url");
        }
    }

    function test_updateUrl_refusesOthers() public {
        string[10] memory bad = [
            "",
            "http://",
            "https://",
            "https:///path",
            "HTTPS://pod",
            "ws://pod",
            "https://pod/ a",
            unicode"https://pöd",
            'https://pod/"',
            repeated("https://", 257)
        ];
        for (uint256 i; i < bad.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IPodRegistry.BadUrl.selector, bad[i], 256));
            vm.prank(OPERATOR);
            registry.updateUrl(podId, bad[i]);
        }
    }

    function test_updateOffers_replacesAll() public {
        Offer[] memory list = manyOffers(32);
        updateOffers(list);
        updateOffers(offers());
        bytes32 expected = keccak256(abi.encode(list));
        vm.expectEmit(address(registry));
        emit IPodRegistry.OffersUpdated(podId, expected);
        updateOffers(list);
        vm.assertEq(abi.encode(registry.pod(podId).offers), abi.encode(list), "offers");
        vm.assertEq(registry.pod(podId).offersHash, expected, "offersHash");
    }

    function test_updateOffers_refusesTooMany() public {
        vm.expectRevert(abi.encodeWithSelector(IPodRegistry.BadOfferCount.selector, 33, 32));
        updateOffers(manyOffers(33));
    }

    function test_updateOffers_refusesBadModelNames() public {
        string[6] memory bad = ["", "Model", "a b", "a\n", unicode"modèle", repeated("m", 65)];
        for (uint256 i; i < bad.length; ++i) {
            Offer[] memory list = manyOffers(3);
            list[2].model = bad[i];
            vm.expectRevert(
                abi.encodeWithSelector(IPodRegistry.BadModelName.selector, 2, bad[i], 64)
            );
            updateOffers(list);
        }
    }

    function test_updateOffers_acceptsTheLongestNameAndEveryCharacter() public {
        Offer[] memory list = offers();
        list[0].model = "abcdefghijklmnopqrstuvwxyz0123456789._:/-abcdefghijklmnopqrstuvw";
        vm.assertEq(bytes(list[0].model).length, 64, "length");
        updateOffers(list);
        vm.assertEq(registry.pod(podId).offers[0].model, list[0].model, "model");
    }

    function test_updateOffers_refusesAModelTwice() public {
        Offer[] memory list = manyOffers(3);
        list[2].model = list[0].model;
        vm.expectRevert(
            abi.encodeWithSelector(IPodRegistry.DuplicateModel.selector, 2, list[0].model)
        );
        updateOffers(list);
    }

    function test_updateOffers_refusesBadTokenLimits() public {
        refuseTokenLimits(0, 0);
        refuseTokenLimits(8192, 0);
        refuseTokenLimits(8192, 8193);
    }

    function test_updatePayout_moves() public {
        vm.expectEmit(address(registry));
        emit IPodRegistry.PayoutUpdated(podId, STRANGER);
        vm.prank(OPERATOR);
        registry.updatePayout(podId, STRANGER);
        vm.assertEq(registry.payoutOf(podId), STRANGER, "payout");
    }

    function test_updatePayout_refusesZero() public {
        vm.expectRevert(abi.encodeWithSelector(IPodRegistry.ZeroPayout.selector));
        vm.prank(OPERATOR);
        registry.updatePayout(podId, address(0));
    }

    function test_retire_andBack() public {
        vm.expectEmit(address(registry));
        emit IPodRegistry.Retired(podId);
        vm.prank(OPERATOR);
        registry.retire(podId);
        vm.assertEq(registry.pod(podId).retired, true, "retired");
        vm.expectRevert(abi.encodeWithSelector(IPodRegistry.RetiredAlready.selector, podId, true));
        vm.prank(OPERATOR);
        registry.retire(podId);
        vm.expectEmit(address(registry));
        emit IPodRegistry.Unretired(podId);
        vm.prank(OPERATOR);
        registry.unretire(podId);
        vm.expectRevert(abi.encodeWithSelector(IPodRegistry.RetiredAlready.selector, podId, false));
        vm.prank(OPERATOR);
        registry.unretire(podId);
    }

    function test_changesAreStamped() public {
        bytes[] memory calls = changes();
        for (uint256 i; i < calls.length; ++i) {
            vm.warp(START + 60 * (i + 1));
            vm.roll(200 + i);
            vm.prank(OPERATOR);
            (bool good,) = address(registry).call(calls[i]);
            vm.assertTrue(good, vm.toString(i));
            Pod memory pod = registry.pod(podId);
            vm.assertEq(pod.updatedAt, START + 60 * (i + 1), "updatedAt");
            vm.assertEq(pod.updatedAtBlock, 200 + i, "updatedAtBlock");
        }
    }

    function test_changesAreTheOperatorsAlone() public {
        bytes[] memory calls = changes();
        bytes memory expected =
            abi.encodeWithSelector(IPodRegistry.NotOperator.selector, podId, OPERATOR, STRANGER);
        for (uint256 i; i < calls.length; ++i) {
            vm.prank(STRANGER);
            (bool good, bytes memory data) = address(registry).call(calls[i]);
            vm.assertEq(good, false, "refused");
            vm.assertEq(data, expected, vm.toString(i));
        }
    }

    function test_unknownPodsAreRefused() public {
        PodId id = PodId.wrap(keccak256("none"));
        bytes memory expected = abi.encodeWithSelector(IPodRegistry.UnknownPod.selector, id);
        vm.expectRevert(expected);
        registry.pod(id);
        vm.expectRevert(expected);
        registry.payoutOf(id);
        vm.expectRevert(expected);
        registry.retire(id);
    }

    function test_page_walksAllPods() public {
        PodId[5] memory ids;
        ids[0] = podId;
        for (uint256 i = 1; i < 5; ++i) {
            ids[i] = listPod(vm.toString(i));
        }
        uint256 cursor;
        uint256 seen;
        do {
            (Pod[] memory pods, uint256 next, uint256 count) = registry.page(cursor, 2);
            vm.assertEq(count, 5, "count");
            for (uint256 i; i < pods.length; ++i) {
                PodId id = ids[seen++];
                vm.assertEq(abi.encode(pods[i]), abi.encode(registry.pod(id)), "pod");
            }
            cursor = next;
        } while (cursor < 5);
        vm.assertEq(seen, 5, "seen");
    }

    function testFuzz_page_staysInside(uint256 cursor, uint256 limit) public {
        listPod("a");
        listPod("b");
        (Pod[] memory pods, uint256 next, uint256 count) = registry.page(cursor, limit);
        uint256 left = cursor < 3 ? 3 - cursor : 0;
        vm.assertEq(pods.length, limit < left ? limit : left, "length");
        vm.assertEq(next, cursor < 3 ? cursor + pods.length : 3, "next");
        vm.assertEq(count, 3, "count");
    }

    function testFuzz_modelNames(bytes1 character, uint256 position) public {
        bytes memory name = "abcdef";
        name[bound(position, 0, 5)] = character;
        bool good = (character >= "a" && character <= "z") || (character >= "0" && character <= "9")
            || character == "." || character == "_" || character == ":" || character == "/"
            || character == "-";
        Offer[] memory list = offers();
        list[0].model = string(name);
        if (!good) {
            vm.expectRevert(abi.encodeWithSelector(IPodRegistry.BadModelName.selector, 0, name, 64));
        }
        updateOffers(list);
    }

    function testFuzz_uriCharacters(bytes1 character) public {
        bytes memory url = "https://pod/?";
        url[12] = character;
        bytes memory excluded = '"<>\\^`{|}';
        bool good = character > 0x20 && character < 0x7f;
        for (uint256 i; i < excluded.length; ++i) {
            if (character == excluded[i]) good = false;
        }
        if (!good) {
            vm.expectRevert(abi.encodeWithSelector(IPodRegistry.BadUrl.selector, url, 256));
        }
        vm.prank(OPERATOR);
        registry.updateUrl(podId, string(url));
    }

    /// A call of its own, so that `expectRevert` sees it and not the making of its arguments.
    function registerFor(
        address operator,
        string calldata salt,
        string calldata url,
        address payout,
        Offer[] calldata list
    ) external returns (PodId) {
        vm.prank(operator);
        return registry.register(keccak256(bytes(salt)), url, payout, list);
    }

    function idOf(string memory salt) private view returns (bytes32) {
        return keccak256(abi.encode(OPERATOR, keccak256(bytes(salt))));
    }

    function updateOffers(Offer[] memory list) private {
        vm.prank(OPERATOR);
        registry.updateOffers(podId, list);
    }

    function refuseTokenLimits(uint32 context, uint32 output) private {
        Offer[] memory list = offers();
        (list[0].contextTokens, list[0].maxOutputTokens) = (context, output);
        vm.expectRevert(
            abi.encodeWithSelector(IPodRegistry.BadTokenLimits.selector, 0, context, output)
        );
        updateOffers(list);
    }

    /// One call of each function that changes a pod.
    function changes() private view returns (bytes[] memory calls) {
        calls = new bytes[](5);
        calls[0] = abi.encodeCall(registry.updateUrl, (podId, "http://b"));
        calls[1] = abi.encodeCall(registry.updateOffers, (podId, offers()));
        calls[2] = abi.encodeCall(registry.updatePayout, (podId, STRANGER));
        calls[3] = abi.encodeCall(registry.retire, (podId));
        calls[4] = abi.encodeCall(registry.unretire, (podId));
    }

    function manyOffers(uint256 count) private pure returns (Offer[] memory list) {
        list = new Offer[](count);
        for (uint256 i; i < count; ++i) {
            list[i] = offers()[0];
            list[i].model = string.concat("model-", vm.toString(i));
        }
    }

    function repeated(string memory start, uint256 length) private pure returns (string memory) {
        bytes memory text = bytes(start);
        while (text.length < length) {
            text = bytes.concat(text, "m");
        }
        return string(text);
    }
}
