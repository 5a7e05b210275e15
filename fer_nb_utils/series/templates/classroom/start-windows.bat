@echo off
rem Makes an environment in the user's folder from this stick alone, then opens the lesson in JupyterLab.
setlocal
set "HERE=%~dp0"
set "ROOM=%USERPROFILE%\fer-class"
set "PYTHON=%ROOM%\environment\Scripts\python.exe"
if exist "%ROOM%\ready" goto start
echo Making the environment. This takes a few minutes, once.
py -PYTHON-VERSION -m venv --clear "%ROOM%\environment" && goto made
python -c "import sys; sys.exit('%%d.%%d' %% sys.version_info[:2] != 'PYTHON-VERSION')" || goto nopython
python -m venv --clear "%ROOM%\environment" || goto nopython
:made
"%PYTHON%" -m pip install --quiet --no-index --find-links "%HERE%wheels" fer_nb_utils || goto failed
xcopy /E /I /Q /Y "%HERE%notebooks" "%ROOM%\notebooks" >nul || goto failed
xcopy /E /I /Q /Y "%HERE%figures" "%ROOM%\figures" >nul || goto failed
"%PYTHON%" -m fer_nb_utils doctor || echo The lesson opens all the same; show the lines above to your teacher.
echo ready> "%ROOM%\ready"
:start
cd /d "%ROOM%\notebooks\classroom"
"%PYTHON%" -m jupyterlab --LabApp.news_url=None transfer_learning.ipynb || goto failed
exit /b
:nopython
echo This stick is for Python PYTHON-VERSION. Install it from python.org, then start this again.
pause
exit /b 1
:failed
echo That did not work (does this stick fit the laptop? see START HERE). Show the lines above to your teacher.
pause
exit /b 1
