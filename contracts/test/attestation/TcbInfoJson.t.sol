// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {CollateralHeader} from "../../src/attestation/TcbInfoJson.sol";
import {TcbStatus, Tee} from "../../src/interfaces/IAttestationVerifier.sol";
import {LibString} from "solady/utils/LibString.sol";
import {vm} from "../Vm.sol";
import {CollateralFixture} from "./CollateralFixture.sol";
import {CollateralText, Dice, Info, IsvLevel, Level, Module} from "./CollateralText.sol";

contract TcbInfoJsonTest is CollateralFixture {
    using LibString for string;

    string private constant COMPONENTS = "{\"svn\":<1|,\"category\":\"~BIOS|\",\"type\":\"~Early Microcode Update|\"},"
        "{\"svn\":<2|,\"category\":\"~OS/VMM|\"},{\"svn\":<255|,\"type\":\"~SINIT|\"},{\"svn\":<0|},"
        "{\"svn\":<3|},{\"svn\":<0|},{\"svn\":<12|},{\"svn\":<0|},{\"svn\":<0|},{\"svn\":<0|},"
        "{\"svn\":<0|},{\"svn\":<0|},{\"svn\":<0|},{\"svn\":<0|},{\"svn\":<0|},{\"svn\":<7|}";
    string private constant MODULE = "\"mrsigner\":\"<0123456789abcdef0123456789ABCDEF0123456789abcdef"
        "0123456789abcdef0123456789ABCDEF0123456789abcdef|\","
        "\"attributes\":\"<FFFFFFFFFFFFFFFF|\",\"attributesMask\":\"<FFFFFFFFFFFFFFFF|\"";

    function test_readsSgxCollateralOfIntel() public view {
        Info memory info;
        info.levels = new Level[](11);
        checkIntel("sgx_quote", info);
    }

    function test_readsTdxCollateralOfIntel() public view {
        Info memory info = intelTdx(2, 1, 2);
        checkIntel("tdx_quote", info);
    }

    function test_readsOutdatedTdxCollateralOfIntel() public view {
        Info memory info = intelTdx(3, 1, 3);
        checkIntel("tdx_quote_outdated", info);
    }

    function test_readsLargestTdxCollateralOfIntel() public view {
        Info memory info = intelTdx(4, 2, 4);
        checkIntel("tdx_quote_td15ex", info);
    }

    function test_readsTheHeader() public view {
        (CollateralHeader memory header,) =
            parser.tcbInfo(bytes(intel("tdx_quote_td15ex", ".tcb_info")));
        vm.assertEq(uint256(header.tee), uint256(Tee.Tdx), "tee");
        vm.assertEq(header.fmspc, bytes6(0xB0C06F000000), "fmspc");
        vm.assertEq(header.pceId, bytes2(0x0000), "pceId");
        vm.assertEq(header.issuedAt, 1_791_418_186, "issuedAt");
        vm.assertEq(header.nextUpdate, 1_794_010_186, "nextUpdate");
        vm.assertEq(header.evaluationNumber, 20, "evaluationNumber");
    }

    /// 700,000 for the transaction, less 21,000, calldata, event, blob and storage.
    function test_gasIsWithinWhatAnUpsertMayTake() public view {
        vm.assertLe(
            parser.tcbInfoGas(bytes(intel("tdx_quote_td15ex", ".tcb_info"))), 40 * 5_524, "TDX"
        );
        vm.assertLe(parser.tcbInfoGas(bytes(intel("sgx_quote", ".tcb_info"))), 40 * 4_520, "SGX");
    }

    function testFuzz_packsWhatTheJsonSays(uint256 seed, bool ofTdx) public view {
        Dice memory dice = Dice(seed);
        Info memory info = dice.info(ofTdx);
        (CollateralHeader memory header, bytes memory packed) =
            parser.tcbInfo(bytes(CollateralText.tcbInfo(info)));
        vm.assertEq(packed, CollateralText.packed(info), "packed");
        vm.assertEq(uint256(header.tee), ofTdx ? 1 : 0, "tee");
        vm.assertEq(header.issuedAt, CollateralText.ISSUED_AT, "issuedAt");
        vm.assertEq(header.nextUpdate, CollateralText.NEXT_UPDATE, "nextUpdate");
    }

    /// Levels that differ in one place only, the lower one first in the JSON.
    function test_ordersLevelsByEveryPartOfThem() public view {
        for (uint256 i; i < 34; ++i) {
            Info memory info;
            info.tdx = true;
            info.base.signer = new bytes(48);
            info.levels = new Level[](2);
            if (i < 16) info.levels[1].sgx = bytes16(bytes1(0x01)) >> (8 * i);
            else if (i < 18) info.levels[1].pceSvn = uint16(1 << (8 * (i - 16)));
            else info.levels[1].tdx = bytes16(bytes1(0x01)) >> (8 * (i - 18));
            (, bytes memory packed) = parser.tcbInfo(bytes(CollateralText.tcbInfo(info)));
            vm.assertEq(packed, CollateralText.packed(info), "the greater one first");
        }
    }

    function test_everyByteOfSgxMatters() public {
        checkMutations(parser.tcbInfo.selector, sgxTemplate());
    }

    function test_everyByteOfTdxMatters() public {
        checkMutations(parser.tcbInfo.selector, tdxTemplate());
    }

    function test_everyPrefixIsRefused() public view {
        (bytes memory json,) = kinds(sgxTemplate());
        checkPrefixes(parser.tcbInfoPrefix.selector, json);
        (json,) = kinds(tdxTemplate());
        checkPrefixes(parser.tcbInfoPrefix.selector, json);
    }

    function testFuzz_everyPrefixOfIntelsIsRefused(uint256 length) public view {
        bytes memory json = bytes(intel("tdx_quote_td15ex", ".tcb_info"));
        checkPrefix(parser.tcbInfoPrefix.selector, json, length % json.length);
    }

    function test_refusesWhatFollows() public view {
        string memory json = sgx();
        string[4] memory more = [" ", "\n", "}", ",\"a\":1"];
        for (uint256 i; i < more.length; ++i) {
            refusedAfter(string.concat(json, more[i]), json);
        }
    }

    function test_refusesOtherKindsOfTcbInformation() public view {
        refusedAfter("", "");
        refusedAfter(" ", "");
        refusedAfter(one(sgx(), "\"id\":\"SGX\",\"version\":3", "\"version\":2"), "");
        refusedAfter(one(sgx(), "SGX", "SEV"), "{\"id\":\"");
        refusedAfter(one(sgx(), "\"version\":3", "\"version\":2"), "{\"id\":\"SGX");
        refusedAfter(one(sgx(), "\"version\":3", "\"version\":4"), "{\"id\":\"SGX");
        refusedAfter(one(sgx(), "\"tcbType\":0", "\"tcbType\":1"), "\"pceId\":\"00aB");
        refusedAfter(one(sgx(), "SGX", "TDX"), "\"tcbEvaluationDataNumber\":20,");
        refusedAfter(one(tdx(), "TDX", "SGX"), "\"tcbEvaluationDataNumber\":20,");
    }

    function test_refusesAnotherOrderOfKeys() public view {
        string memory json =
            one(sgx(), "\"id\":\"SGX\",\"version\":3", "\"version\":3,\"id\":\"SGX\"");
        refusedAfter(json, "");
        json = one(sgx(), "\"pceId\":\"00aB\",\"tcbType\":0", "\"tcbType\":0,\"pceId\":\"00aB\"");
        refusedAfter(json, "B0C06F000000");
    }

    function test_refusesAKeyTwice() public view {
        string memory key = "\"pceId\":\"00aB\"";
        refusedAfter(one(sgx(), key, string.concat(key, ",", key)), "\"pceId\":\"00aB");
        refusedAfter(one(sgx(), "{\"svn\":3}", "{\"svn\":3,\"svn\":3}"), "{\"svn\":3");
    }

    function test_refusesTooFewOrTooManyComponents() public view {
        string memory last = "{\"svn\":7}],\"pcesvn\"";
        refusedAt(one(sgx(), string.concat(",", last), "],\"pcesvn\""), "}],\"pcesvn\"");
        string memory json = one(sgx(), last, string.concat("{\"svn\":7},", last));
        refusedAt(json, ",{\"svn\":7}],\"pcesvn\"");
        last = ",{\"svn\":7}]},\"tcbDate\"";
        refusedAt(one(tdx(), last, "]},\"tcbDate\""), "}]},\"tcbDate\"");
        refusedAt(one(tdx(), last, string.concat(",{\"svn\":7}", last)), last);
    }

    function test_refusesListsWithoutALevel() public view {
        string memory key = "\"tcbLevels\":[";
        string memory json = sgx();
        json = string.concat(prefix(json, offsetOf(json, key)), key, "]}");
        refusedAfter(json, key);
        json = tdx();
        json = string.concat(prefix(json, offsetOf(json, key)), key, "]}],\"tcbLevels\":[]}");
        refusedAfter(json, key);
    }

    function test_modulesMayHaveNoIdentities() public view {
        Info memory info;
        info.tdx = true;
        info.base.signer = new bytes(48);
        info.levels = new Level[](1);
        string memory json = CollateralText.tcbInfo(info);
        (, bytes memory without) = parser.tcbInfo(bytes(json));
        vm.assertEq(without, CollateralText.packed(info), "without the key");
        string memory levels = "},\"tcbLevels\":";
        json = one(json, levels, "},\"tdxModuleIdentities\":[],\"tcbLevels\":");
        (, bytes memory empty) = parser.tcbInfo(bytes(json));
        vm.assertEq(empty, without, "an empty list");
    }

    function test_refusesNumbersInAnotherForm() public view {
        string[8] memory forms = ["01", "00", "-1", "+1", "\"1\"", "", "true", "65536"];
        for (uint256 i; i < forms.length; ++i) {
            refusedAfter(pceSvn(forms[i]), "\"pcesvn\":");
        }
        forms = ["1.0", "1e0", "1E0", "0x1", "1 ", "1,", "65535.", "6553a"];
        for (uint256 i; i < forms.length; ++i) {
            string memory digits = i < 6 ? prefix(forms[i], 1) : prefix(forms[i], i == 6 ? 5 : 4);
            refusedAfter(pceSvn(forms[i]), string.concat("\"pcesvn\":", digits));
        }
        accepted(pceSvn("65535"));
        accepted(pceSvn("0"));
    }

    function test_refusesSvnsOfMoreThanAByte() public view {
        string memory before = "{\"svn\":0},{\"svn\":";
        accepted(one(sgx(), string.concat(before, "3"), string.concat(before, "255")));
        refusedAfter(one(sgx(), string.concat(before, "3"), string.concat(before, "256")), before);
        before = "{\"isvsvn\":";
        accepted(one(tdx(), string.concat(before, "11"), string.concat(before, "255")));
        refusedAfter(one(tdx(), string.concat(before, "11"), string.concat(before, "256")), before);
    }

    function test_numbersDoNotWrap() public view {
        string memory key = "\"tcbEvaluationDataNumber\":";
        string memory old = string.concat(key, "20");
        string memory json = one(sgx(), old, string.concat(key, "4294967295"));
        (CollateralHeader memory header,) = parser.tcbInfo(bytes(json));
        vm.assertEq(header.evaluationNumber, type(uint32).max, "greatest");
        // 2^32, 2^256 + 20, and 20 in more digits than are looked at.
        string[3] memory forms = [
            "4294967296",
            "115792089237316195423570985008687907853269984665640564039457584007913129639956",
            "0000000000000000000000000000000000000020"
        ];
        for (uint256 i; i < forms.length; ++i) {
            refusedAfter(one(sgx(), old, string.concat(key, forms[i])), key);
        }
    }

    function test_refusesDatesThatDoNotExist() public view {
        string[14] memory dates = [
            "2025-13-19T10:16:03Z",
            "2025-00-19T10:16:03Z",
            "2025-06-31T10:16:03Z",
            "2025-06-00T10:16:03Z",
            "2025-02-29T10:16:03Z",
            "2100-02-29T10:16:03Z",
            "2025-06-19T24:16:03Z",
            "2025-06-19T10:60:03Z",
            "2025-06-19T10:16:60Z",
            "1969-12-31T23:59:59Z",
            "2025-06-19t10:16:03z",
            "2025-06-19 10:16:03Z",
            "2025-06-19T10:16:03+00:00",
            "2025-06-19T10:16:03.0Z"
        ];
        for (uint256 i; i < dates.length; ++i) {
            refusedAfter(one(sgx(), CollateralText.ISSUED, dates[i]), "\"issueDate\":\"");
            refusedAfter(one(sgx(), CollateralText.NEXT, dates[i]), "\"nextUpdate\":\"");
            refusedAfter(one(sgx(), "2024-02-29T00:00:00Z", dates[i]), "\"tcbDate\":\"");
        }
    }

    function test_takesLeapDays() public view {
        (CollateralHeader memory header,) =
            parser.tcbInfo(bytes(one(sgx(), CollateralText.ISSUED, "2024-02-29T23:59:59Z")));
        vm.assertEq(header.issuedAt, 1_709_251_199, "2024-02-29");
        (header,) = parser.tcbInfo(bytes(one(sgx(), CollateralText.ISSUED, "2000-02-29T00:00:00Z")));
        vm.assertEq(header.issuedAt, 951_782_400, "2000-02-29");
    }

    function test_takesHexOfEitherCase() public view {
        (CollateralHeader memory header,) =
            parser.tcbInfo(bytes(one(sgx(), "B0C06F000000", "b0c06f000000")));
        vm.assertEq(header.fmspc, bytes6(0xB0C06F000000), "fmspc");
    }

    function test_takesTheStatusesOfEachStructure() public view {
        string memory ofModule = "\"tcbStatus\":\"";
        string memory ofPlatform = "2024-03-13T00:00:00Z\",\"tcbStatus\":\"";
        for (uint256 i; i < 9; ++i) {
            string memory name = CollateralText.statusName(TcbStatus(i));
            string memory json = one(tdx(), status("Revoked"), status(name));
            // The last two come from comparing two levels.
            if (i < 7) accepted(json);
            else refusedAfter(json, ofPlatform);
            json = one(tdx(), status("OutOfDate"), status(name));
            if (i == 0 || i == 4 || i == 6) accepted(json);
            else refusedAfter(json, ofModule);
        }
        string[5] memory unknown = ["", "uptodate", "UpToDate ", "Revoke", "RevokedRevoked"];
        for (uint256 i; i < unknown.length; ++i) {
            refusedAfter(one(tdx(), status("Revoked"), status(unknown[i])), ofPlatform);
        }
    }

    function test_takes64LevelsAndNoMore() public view {
        Info memory info;
        info.levels = new Level[](64);
        for (uint256 i; i < 64; ++i) {
            info.levels[i].pceSvn = uint16(i);
        }
        (, bytes memory packed) = parser.tcbInfo(bytes(CollateralText.tcbInfo(info)));
        vm.assertEq(packed, CollateralText.packed(info), "the most");
        info.levels = new Level[](65);
        info.levels[64].sgx = bytes16(bytes1(0xff));
        refusedAt(CollateralText.tcbInfo(info), "{\"tcb\":{\"sgxtcbcomponents\":[{\"svn\":255");
    }

    function test_takes16IdentitiesOf64LevelsAndNoMore() public view {
        Info memory info = intelTdx(64, 64, 1);
        info.base.signer = new bytes(48);
        Module memory module = Module(1, new bytes(48), 0, 0, new IsvLevel[](64));
        info.identities[0] = module;
        info.identities[1] = Module(2, new bytes(48), 0, 0, new IsvLevel[](1));
        string memory json = CollateralText.tcbInfo(info);
        uint256 start = offsetOf(json, "{\"id\":\"TDX_01");
        string memory text = json.slice(start, offsetOf(json, "{\"id\":\"TDX_02"));
        string memory tooMany = one(json, text, text.repeat(16));
        refusedAt(tooMany, "{\"id\":\"TDX_02");

        info.identities = new Module[](16);
        for (uint256 i; i < 16; ++i) {
            info.identities[i] = module;
        }
        json = string.concat(
            json.slice(0, start),
            text.repeat(15),
            text.slice(0, bytes(text).length - 1),
            json.slice(offsetOf(json, "],\"tcbLevels\":[{\"tcb\":{\"sgx"))
        );
        (, bytes memory packed) = parser.tcbInfo(bytes(json));
        vm.assertEq(packed, CollateralText.packed(info), "the most");
    }

    function test_takes64LevelsOfAModuleAndNoMore() public view {
        Info memory info = intelTdx(1, 65, 1);
        info.base.signer = new bytes(48);
        info.identities[0].signer = new bytes(48);
        info.identities[1].signer = new bytes(48);
        info.identities[0].levels[64].svn = 9;
        refusedAt(CollateralText.tcbInfo(info), "{\"tcb\":{\"isvsvn\":9}");
    }

    /// Compares what is packed with what Foundry's JSON parser finds in the file.
    function checkIntel(string memory name, Info memory info) private view {
        string memory json = intel(name, ".tcb_info");
        if (info.tdx) {
            info.base = moduleAt(json, ".tdxModule", 0);
            for (uint256 i; i < info.identities.length; ++i) {
                info.identities[i] = moduleAt(
                    json, path(".tdxModuleIdentities", i), info.identities[i].levels.length
                );
            }
        }
        for (uint256 i; i < info.levels.length; ++i) {
            info.levels[i] = levelAt(json, path(".tcbLevels", i), info.tdx);
        }
        (, bytes memory packed) = parser.tcbInfo(bytes(json));
        vm.assertEq(packed, CollateralText.packed(info), name);
    }

    /// TCB information of which the numbers of levels are known.
    function intelTdx(uint256 levels, uint256 first, uint256 second)
        private
        pure
        returns (Info memory info)
    {
        info.tdx = true;
        info.levels = new Level[](levels);
        info.identities = new Module[](2);
        info.identities[0].levels = new IsvLevel[](first);
        info.identities[1].levels = new IsvLevel[](second);
    }

    function pceSvn(string memory form) private pure returns (string memory) {
        return one(sgx(), "\"pcesvn\":13", string.concat("\"pcesvn\":", form));
    }

    /// Refused where `text` is first.
    function refusedAt(string memory json, string memory text) private view {
        checkRefused(parser.tcbInfo.selector, json, offsetOf(json, text));
    }

    /// Refused right behind the first `text`.
    function refusedAfter(string memory json, string memory text) private view {
        checkRefused(parser.tcbInfo.selector, json, offsetOf(json, text) + bytes(text).length);
    }

    function accepted(string memory json) private view {
        checkRead(parser.tcbInfo.selector, json);
    }

    function sgx() private pure returns (string memory) {
        (bytes memory json,) = kinds(sgxTemplate());
        return string(json);
    }

    function tdx() private pure returns (string memory) {
        (bytes memory json,) = kinds(tdxTemplate());
        return string(json);
    }

    function sgxTemplate() private pure returns (string memory) {
        return string.concat(
            "{\"id\":\"SGX",
            headTemplate(),
            "\"tcbLevels\":[{\"tcb\":{\"sgxtcbcomponents\":[",
            COMPONENTS,
            "],\"pcesvn\":<13|},\"tcbDate\":\"^2024-02-29T00:00:00Z|\",",
            "\"tcbStatus\":\"ConfigurationAndSWHardeningNeeded\",",
            "\"advisoryIDs\":[\"~INTEL-SA-00837|\",\"~INTEL-SA-01036|\"]},",
            "{\"tcb\":{\"sgxtcbcomponents\":[",
            COMPONENTS,
            "],\"pcesvn\":<5|},\"tcbDate\":\"^2018-01-04T00:00:00Z|\",\"tcbStatus\":\"Revoked\"}]}"
        );
    }

    function tdxTemplate() private pure returns (string memory) {
        return string.concat(
            "{\"id\":\"TDX",
            headTemplate(),
            "\"tdxModule\":{",
            MODULE,
            "},\"tdxModuleIdentities\":[{\"id\":\"TDX_<03|\",",
            MODULE,
            ",\"tcbLevels\":[{\"tcb\":{\"isvsvn\":<11|},\"tcbDate\":\"^2024-02-29T00:00:00Z|\",",
            "\"tcbStatus\":\"OutOfDate\",\"advisoryIDs\":[]},{\"tcb\":{\"isvsvn\":<2|},",
            "\"tcbDate\":\"^2024-02-29T00:00:00Z|\",\"tcbStatus\":\"UpToDate\"}]}],",
            "\"tcbLevels\":[{\"tcb\":{\"sgxtcbcomponents\":[",
            COMPONENTS,
            "],\"pcesvn\":<13|,\"tdxtcbcomponents\":[",
            COMPONENTS,
            "]},\"tcbDate\":\"^2024-03-13T00:00:00Z|\",\"tcbStatus\":\"Revoked\"}]}"
        );
    }

    function headTemplate() private pure returns (string memory) {
        return string.concat(
            "\",\"version\":3,\"issueDate\":\"<2025-06-19T10:16:03Z|\",",
            "\"nextUpdate\":\"<2025-07-19T10:16:03Z|\",\"fmspc\":\"<B0C06F000000|\",",
            "\"pceId\":\"<00aB|\",\"tcbType\":0,\"tcbEvaluationDataNumber\":<20|,"
        );
    }
}
