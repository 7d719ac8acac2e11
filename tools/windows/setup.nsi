; setup.exe of the agent for Windows. Made by tools.windows.build, which defines VERSION, PROGRAM (the folder), OUT and, where makensis has it, TARGET.
;
;   setup.exe /S [/CONFIG=agent.toml, or a folder with it]     nobody is asked anything; setup.exe ends when the service runs
;   uninstall.exe /S [/PURGE]                                   keeps configuration and data without /PURGE, and where anything is not collected yet
;
; What always holds: the new program is unpacked beside the old one, and takes its place only when it is whole and the service is down; one that does
; not start is taken back. Everything that is asked of the service is asked of agent.exe. Configuration and data are never replaced.
; Exit codes: 0 done, 2 not Windows 10, 3 the service does not stop or go, 4 no room or a file in use, 5 the service does not start;
; uninstall.exe waited for with _?=: 6 what was to be purged is kept.

Unicode true
!ifdef TARGET
  Target ${TARGET}
!endif
!include MUI2.nsh
!include LogicLib.nsh
!include FileFunc.nsh
!include WinVer.nsh
!include x64.nsh

!define KEY "Software\Microsoft\Windows\CurrentVersion\Uninstall\Haochaping"
!define TITLE "好差评窗口代理程序 Rating agent"

Name "${TITLE} ${VERSION}"
OutFile "${OUT}"
InstallDir "$PROGRAMFILES64\Haochaping"
RequestExecutionLevel admin
!ifdef QUICK
  SetCompress off
!else
  SetCompressor /SOLID lzma
!endif
ShowInstDetails show
ShowUninstDetails show
VIProductVersion "${VERSION}.0"
VIAddVersionKey /LANG=0 "ProductName" "${TITLE}"
VIAddVersionKey /LANG=0 "FileDescription" "${TITLE}"
VIAddVersionKey /LANG=0 "FileVersion" "${VERSION}"
VIAddVersionKey /LANG=0 "LegalCopyright" "Apache-2.0"

Var Config     ; what /CONFIG names
Var Standard   ; where the configuration is in use
Var Known      ; not empty when there is a configuration to run with: that one, or the one of the service
Var Said       ; what the last command said
Var Code       ; its exit code; a word where it could not be run, which as a number would be 0: compare it as a text
Var Purge
Var Kept       ; 1 when configuration and data stay though they were to go

!define MUI_FINISHPAGE_RUN
!define MUI_FINISHPAGE_RUN_TEXT "现在填写本窗口的配置 Fill in this window's configuration now"
!define MUI_FINISHPAGE_RUN_FUNCTION Configure
!define MUI_PAGE_CUSTOMFUNCTION_PRE OnlyWithoutConfiguration
!insertmacro MUI_PAGE_INSTFILES
!insertmacro MUI_PAGE_FINISH
!insertmacro MUI_UNPAGE_CONFIRM
!insertmacro MUI_UNPAGE_INSTFILES
!insertmacro MUI_LANGUAGE "SimpChinese"
!insertmacro MUI_LANGUAGE "English"

; Run a command to its end: $Code and $Said; both go into setup.log, for whom nobody was asked.
!macro Ask un
Function ${un}Ask
  Exch $0
  DetailPrint "$0"
  nsExec::ExecToStack '$0'
  Pop $Code
  Pop $Said
  DetailPrint "$Said"
  FileOpen $1 "$INSTDIR\setup.log" a
  FileSeek $1 0 END $2
  ${If} $2 = 0
    FileWriteUTF16LE /BOM $1 ""
  ${EndIf}
  ${GetTime} "" "L" $3 $4 $5 $6 $7 $8 $9
  FileWriteUTF16LE $1 "$5-$4-$3 $7:$8:$9 $0$\r$\n$Said$\r$\n"
  FileClose $1
  Pop $0
FunctionEnd
!macroend
!insertmacro Ask ""
!insertmacro Ask "un."
!macro Command line
  Push `${line}`
  !ifdef __UNINSTALL__
    Call un.Ask
  !else
    Call Ask
  !endif
!macroend

; Rename, waiting for whoever has it open for a moment, as virus scanners do: $Code is 0 when it is done.
!macro Move from to
  StrCpy $Code 1
  ${For} $R0 1 40
    ClearErrors
    Rename "${from}" "${to}"
    ${IfNot} ${Errors}
      StrCpy $Code 0
      ${ExitFor}
    ${EndIf}
    Sleep 250
  ${Next}
!macroend

!macro Fail code text
  DetailPrint "${text}"
  MessageBox MB_OK|MB_ICONSTOP "${text}$\r$\n$\r$\n$Said" /SD IDOK
  SetErrorLevel ${code}
  Quit
!macroend

Function .onInit
  SetShellVarContext all
  SetRegView 64
  ${IfNot} ${RunningX64}
  ${OrIfNot} ${AtLeastWin10}
    !insertmacro Fail 2 "需要 64 位 Windows 10 或 11 Windows 10 or 11, 64 bits, is needed"
  ${EndIf}
  StrCpy $Standard "$APPDATA\Haochaping\agent.toml"
  ReadRegStr $Known HKLM "SYSTEM\CurrentControlSet\Services\HaochapingAgent" "ImagePath"
  ${If} ${FileExists} "$Standard"
    StrCpy $Known "$Standard"
  ${EndIf}
  ${GetParameters} $0
  ClearErrors
  ${GetOptions} $0 "/CONFIG=" $Config
FunctionEnd

Function OnlyWithoutConfiguration
  ${If} $Known != ""
    Abort
  ${EndIf}
FunctionEnd

Function Configure
  Exec '"$SYSDIR\cmd.exe" /k ""$INSTDIR\program\agent.exe" init && "$INSTDIR\program\agent.exe" service install"'
FunctionEnd

; Put the program before this one back and have it run again; what has failed is gone.
Function TakeBack
  !insertmacro Command '"$INSTDIR\program\agent.exe" service stop'
  RMDir /r "$INSTDIR\program.failed"
  !insertmacro Move "$INSTDIR\program" "$INSTDIR\program.failed"
  !insertmacro Move "$INSTDIR\program.old" "$INSTDIR\program"
  RMDir /r "$INSTDIR\program.failed"
  !insertmacro Command '"$INSTDIR\program\agent.exe" service install'
FunctionEnd

Section
  RMDir /r "$INSTDIR\program.new"
  RMDir /r "$INSTDIR\program.old"
  ClearErrors
  SetOverwrite try
  SetOutPath "$INSTDIR\program.new"
  File /r "${PROGRAM}\*.*"
  SetOutPath "$INSTDIR"
  ${If} ${Errors}
    RMDir /r "$INSTDIR\program.new"
    !insertmacro Fail 4 "文件无法写入，请检查磁盘空间；原程序仍在运行 files cannot be written, check the disk; the program before this one runs on"
  ${EndIf}

  !insertmacro Command '"$INSTDIR\program.new\agent.exe" service stop'
  ${If} $Code == "error"
    RMDir /r "$INSTDIR\program.new"
    !insertmacro Fail 5 "程序无法运行，未作修改；请检查杀毒软件 the program cannot be run, nothing was changed: look at the virus scanner"
  ${EndIf}
  ${If} $Code != 0
    RMDir /r "$INSTDIR\program.new"
    !insertmacro Fail 3 "服务无法停止 the service does not stop"
  ${EndIf}

  ${If} ${FileExists} "$INSTDIR\program\agent.exe"
    !insertmacro Move "$INSTDIR\program" "$INSTDIR\program.old"
    ${If} $Code != 0
      RMDir /r "$INSTDIR\program.new"
      ${If} $Known != ""
        !insertmacro Command '"$INSTDIR\program\agent.exe" service install'
      ${EndIf}
      !insertmacro Fail 4 "程序正被使用，请关闭其窗口后重试 the program is in use: close its windows and try again"
    ${EndIf}
  ${EndIf}
  !insertmacro Move "$INSTDIR\program.new" "$INSTDIR\program"
  ${If} $Code != 0
    Rename "$INSTDIR\program.old" "$INSTDIR\program"
    ${If} $Known != ""
      !insertmacro Command '"$INSTDIR\program\agent.exe" service install'
    ${EndIf}
    !insertmacro Fail 4 "文件被占用，请重试 a file is in use: try again"
  ${EndIf}

  WriteUninstaller "$INSTDIR\uninstall.exe"
  WriteRegStr HKLM "${KEY}" "DisplayName" "${TITLE}"
  WriteRegStr HKLM "${KEY}" "DisplayVersion" "${VERSION}"
  WriteRegStr HKLM "${KEY}" "Publisher" "haochaping"
  WriteRegStr HKLM "${KEY}" "InstallLocation" "$INSTDIR"
  WriteRegStr HKLM "${KEY}" "UninstallString" '"$INSTDIR\uninstall.exe"'
  WriteRegStr HKLM "${KEY}" "QuietUninstallString" '"$INSTDIR\uninstall.exe" /S'
  WriteRegDWORD HKLM "${KEY}" "NoModify" 1
  WriteRegDWORD HKLM "${KEY}" "NoRepair" 1

  ${If} $Config != ""
    !insertmacro Command '"$INSTDIR\program\agent.exe" service install --from "$Config"'
  ${ElseIf} $Known != ""
    !insertmacro Command '"$INSTDIR\program\agent.exe" service install'
  ${Else}
    DetailPrint "下一步 next: $\"$INSTDIR\program\agent.exe$\" init"
    StrCpy $Code 0
  ${EndIf}
  ${If} $Code != 0
    ${If} ${FileExists} "$INSTDIR\program.old\agent.exe"
      StrCpy $R1 $Said
      Call TakeBack
      StrCpy $Said $R1
      !insertmacro Fail 5 "新程序未能启动，已恢复原程序 the new program does not start; the one before it is back"
    ${EndIf}
    !insertmacro Fail 5 "服务未能启动 the service does not start"
  ${EndIf}
  RMDir /r /REBOOTOK "$INSTDIR\program.old"
SectionEnd

Function un.onInit
  SetShellVarContext all
  SetRegView 64
  StrCpy $Purge 0
  ${GetParameters} $0
  ClearErrors
  ${GetOptions} $0 "/PURGE" $1
  ${IfNot} ${Errors}
    StrCpy $Purge 1
  ${EndIf}
  ${IfNot} ${Silent}
  ${AndIf} ${FileExists} "$APPDATA\Haochaping\*.*"
    MessageBox MB_YESNO|MB_DEFBUTTON2|MB_ICONQUESTION "是否同时删除配置和数据？一般选“否”。有评价尚未归集时会保留。$\r$\nDelete configuration and data as well? Usually no. They are kept where ratings are not collected yet.$\r$\n$\r$\n$APPDATA\Haochaping" IDNO keep
    StrCpy $Purge 1
    keep:
  ${EndIf}
FunctionEnd

Section Uninstall
  ${If} ${FileExists} "$INSTDIR\program\agent.exe"
    !insertmacro Command '"$INSTDIR\program\agent.exe" service remove'
    ${If} $Code != 0
    ${AndIf} $Code != "error" ; a program that cannot be run is not in the way of its own removal
      !insertmacro Fail 3 "服务无法移除 the service cannot be removed"
    ${EndIf}
  ${EndIf}
  StrCpy $Kept 0
  ${If} $Purge = 1
  ${AndIf} ${FileExists} "$APPDATA\Haochaping\*.*"
    !insertmacro Command '"$INSTDIR\program\agent.exe" db waiting --in "$APPDATA\Haochaping"'
    ${If} $Code != 0
      StrCpy $Purge 0
      StrCpy $Kept 1
      Delete "$APPDATA\Haochaping\uninstall.log"
      Rename "$INSTDIR\setup.log" "$APPDATA\Haochaping\uninstall.log"
    ${EndIf}
  ${EndIf}
  RMDir /r /REBOOTOK "$INSTDIR\program"
  RMDir /r "$INSTDIR\program.old"
  RMDir /r "$INSTDIR\program.new"
  Delete "$INSTDIR\setup.log"
  Delete "$INSTDIR\uninstall.exe"
  RMDir "$INSTDIR"
  DeleteRegKey HKLM "${KEY}"
  ${If} $Purge = 1
    RMDir /r "$APPDATA\Haochaping"
  ${ElseIf} $Kept = 1
    !insertmacro Fail 6 "配置和数据已保留，其中可能有评价尚未归集 configuration and data are kept, for not everything there may be collected"
  ${EndIf}
SectionEnd
